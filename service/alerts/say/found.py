"""What a rule found: a finding whose sentences are still data."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.say.finding import (
    Citation,
    Evidence,
    Finding,
    NotifyTeam,
    Offer,
    OrderTest,
    ReferTo,
    Severity,
)
from service.alerts.say.language import Language
from service.alerts.say.sentence import Sentence, unworded

#: While rules are brought over, a text that is written already stands beside sentences.
Text = Sentence | str


class Fact(Struct, frozen=True, gc=False):
    """One fact behind a finding: the resource, what it says and when."""

    ref: str
    text: Text
    at: datetime | None = None
    date_only: bool = False


class Wish(Struct, frozen=True, gc=False):
    """An offer whose reason is a sentence: what is offered, and why."""

    offer: OrderTest | ReferTo | NotifyTeam
    reason: Text


class Found(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that is unsafe, due, or unknown. See :class:`service.alerts.say.finding.Finding` for what each part is."""

    code: str
    severity: Severity
    subject: str
    summary: Text
    #: Said in place of the summary where that is too long.
    shorter: Sentence | None = None
    why: tuple[Text, ...] = ()
    policy_says: tuple[Text, ...] = ()
    suggested: tuple[Text, ...] = ()
    unchecked: tuple[Text, ...] = ()
    evidence: tuple[Fact | Evidence, ...] = ()
    missing: tuple[Text, ...] = ()
    decisive: tuple[str, ...] = ()
    citation: Citation
    offers: tuple[Offer | Wish, ...] = ()
    overrides: str = ""
    changes_order: bool = False
    also: tuple[str, ...] = ()


def told(found: Found, language: Language) -> Finding:
    """The finding in the words of a language."""

    def markdown(texts: tuple[Text, ...]) -> tuple[str, ...]:
        return tuple([t if isinstance(t, str) else language.markdown(t) for t in texts])

    summary = found.summary
    if found.shorter is not None and isinstance(summary, Sentence) and not language.fits(summary):
        summary = found.shorter
    return Finding(
        code=found.code,
        severity=found.severity,
        subject=found.subject,
        summary=summary if isinstance(summary, str) else language.summary(summary),
        why=markdown(found.why),
        policy_says=markdown(found.policy_says),
        suggested=markdown(found.suggested),
        unchecked=markdown(found.unchecked),
        evidence=tuple([e if isinstance(e, Evidence) else _evidence(e, language) for e in found.evidence]),
        missing=markdown(found.missing),
        decisive=found.decisive,
        about=_about(found),
        citation=found.citation,
        offers=tuple([_offer(o, language) if isinstance(o, Wish) else o for o in found.offers]),
        overrides=found.overrides,
        changes_order=found.changes_order,
        also=found.also,
    )


def _about(found: Found) -> tuple[str, ...]:
    """What is missing, and without any evidence what is said, in no language."""
    texts = found.missing if found.evidence else (found.summary, *found.missing)
    return tuple(t if isinstance(t, str) else unworded(t) for t in texts)


def _evidence(fact: Fact, language: Language) -> Evidence:
    text = fact.text if isinstance(fact.text, str) else language.markdown(fact.text)
    return Evidence(fact.ref, text, fact.at, fact.date_only)


def _offer(wish: Wish, language: Language) -> Offer:
    reason = wish.reason if isinstance(wish.reason, str) else language.plain(wish.reason)
    return replace(wish.offer, reason=reason)
