"""One question judged: what was read, what was found, and the cards an EHR would get."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from msgspec import Struct

from cds_hooks import Card, ProtocolError
from service.alerts.facts.ledger import Ledger
from service.alerts.facts.patient import SourceState
from service.alerts.policy.policy import Policy
from service.alerts.say.cards import cards_of
from service.alerts.say.finding import Finding
from service.alerts.say.language import english
from service.hooks.causes import summary_of
from service.hooks.render import render_all
from service.hooks.required import require_data, require_grounds
from service.hooks.site_facts import site_facts
from service.judge.errors import JudgeError
from service.judge.inquiry import Inquiry, Question, read_inquiry
from service.judge.site_for import SiteOptions, site_for
from service.judge.turn import TURN
from service.options.site import Site
from service.options.weighed import Weighed

#: At the ends of the calendar no rule could count days.
_YEARS = (1900, 2999)


class LeftOut(Struct, frozen=True, kw_only=True):
    """A resource, or a part of one, that could not be read or was left out.

    Args:
        source: prefetch key, ``draftOrders``, or the file.
        ref: the resource (``Observation/7``), as far as it can be told.
        reason: why, in English.
        matters: what is missing could have changed the answer.
    """

    source: str
    ref: str
    reason: str
    matters: bool


class Judgement(Struct, frozen=True, kw_only=True):
    """The answer to one question. The same question gets the same answer, but for the uuids of cards and suggestions.

    Args:
        hook: the hook that was played.
        patient_id: the patient in context; nobody else's records were believed.
        as_of: the moment of the question, in the site's time zone.
        policy: id of the policy that applied.
        findings: everything that was found, most severe first; on an order hook not every ``info`` becomes a card.
        cards: what an EHR would show, in this order: structs that ``msgspec.to_builtins`` turns into what is sent.
        read_problems: what could not be read or was left out, and why.
        ledger: what became of every resource that was given: read, irrelevant, or not understood, each with why.
        sources: prefetch key -> ``complete``, ``incomplete`` or ``unavailable``: whether "none on record" means none.
    """

    hook: str
    patient_id: str
    as_of: datetime
    policy: str
    findings: tuple[Finding, ...]
    cards: tuple[Card, ...]
    read_problems: tuple[LeftOut, ...]
    ledger: Ledger
    sources: dict[str, SourceState]


def judge(
    question: Question,
    *,
    policy: str | Path | Policy | None = None,
    as_of: datetime,
    hook: str | None = None,
    site: Site | SiteOptions | None = None,
) -> Judgement:
    """What the service says to one question, without a server, a database or a clock.

    Args:
        question: a CDS Hooks request, or a FHIR R4 Bundle that holds one patient's whole record (its drafts are the orders that are
            asked about); bytes, text or a decoded object. Nothing is fetched: what is not in it is reported as missing.
        policy: the id of a shipped policy, the path of a ``.toml`` file or a loaded policy. Default: the site's own, or ``us-label-2025``.
        as_of: the moment of the question, with a time zone.
        hook: the hook to play with a Bundle; a request names its own.
        site: options of the site by their names in the configuration file (see SiteOptions), or a resolved site. Shadow mode and
            overrides silence nothing here.

    Raises JudgeError, a ValueError, with one sentence: the question cannot be read, nothing in it could be judged, or an option is
    wrong. A rule that fails costs itself: a ``data-unavailable`` finding names it.
    """
    moment = _moment(as_of)
    try:
        with TURN:
            resolved = site_for(policy, site)
            return _judged(read_inquiry(question, hook), resolved, moment.astimezone(resolved.zone))
    except JudgeError:
        raise
    except ProtocolError as error:
        raise JudgeError(f"{summary_of(error.code)} {error.message}") from None
    except Exception as error:  # what nobody expected must not look like nothing found
        raise JudgeError(f"{summary_of('exception')} ({type(error).__name__})") from error


def _moment(as_of: datetime) -> datetime:
    if not isinstance(as_of, datetime) or as_of.utcoffset() is None:
        raise JudgeError(
            "as_of: a datetime with a time zone is expected, such as datetime(2026, 11, 20, 10, tzinfo=UTC)"
        )
    if not _YEARS[0] <= as_of.year <= _YEARS[1]:
        raise JudgeError(f"as_of: a year from {_YEARS[0]} to {_YEARS[1]} is expected")
    return as_of


def _judged(inquiry: Inquiry, site: Site, as_of: datetime) -> Judgement:
    snapshot = site_facts(
        site,
        inquiry.gathered,
        patient_id=inquiry.patient_id,
        hook=inquiry.hook,
        orders=inquiry.orders,
        selections=inquiry.selections,
        in_words=True,
    )
    require_data(inquiry.gathered, snapshot)
    findings = Weighed(snapshot, site, as_of).findings
    require_grounds(inquiry.gathered, snapshot, findings)
    texts = cards_of(findings, inquiry.hook, site.options.card_limit)
    cards = render_all(texts, site, inquiry.patient_id, inquiry.orders)
    return Judgement(
        hook=inquiry.hook,
        patient_id=inquiry.patient_id,
        as_of=as_of,
        policy=site.policy.id,
        findings=tuple(findings),
        cards=cards,
        read_problems=tuple(
            LeftOut(source=p.source, ref=p.ref, reason=english().reason(p.reason), matters=p.matters)
            for p in snapshot.read_problems
        ),
        ledger=snapshot.ledger,
        sources=snapshot.sources,
    )
