"""Findings become card texts: ordered, economical, in Markdown that explains itself (contract "Cards")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import is_

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.facts.patient import ORDER_HOOKS, FromRegistry
from service.alerts.facts.record_text import one_line
from service.alerts.say import wording as w
from service.alerts.say.cited import cited, own
from service.alerts.say.finding import (
    SEVERITY_RANK,
    Citation,
    FaultObserver,
    Finding,
    Offer,
    OrderTest,
    Severity,
)
from service.alerts.say.finding_codes import reasons_of, title_of, urgency
from service.alerts.say.found import Found
from service.alerts.say.found import told as in_words
from service.alerts.say.language import english
from service.alerts.say.sentence import Day, Listed, Number, Sentence, Term, Written, sentence

CARD_LIMIT = 10
#: Lines of one part of a card: of a hundred orders alike nobody reads each.
MOST_LINES = 20
#: What a reader of Markdown takes for HTML or for an automatic link.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


class CardText(Struct, frozen=True, gc=False):
    """One card, without the envelope of the protocol."""

    code: str
    title: str
    severity: Severity
    summary: str
    detail: str
    citation: Citation
    subject: str
    offers: tuple[Offer, ...] = ()
    overrides: str = "general"
    evidence_refs: tuple[str, ...] = ()


def shown(findings: Iterable[Finding], hook: str) -> list[Finding]:
    """Findings for this hook, most severe first: ``info`` interrupts an order only when it bears on it; nothing twice."""
    kept: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        if finding.severity == "info" and hook in ORDER_HOOKS and not finding.changes_order:
            continue
        key = (finding.code, finding.subject)
        known = kept.get(key)
        if known is None or SEVERITY_RANK[finding.severity] > SEVERITY_RANK[known.severity]:
            kept[key] = finding
    place = urgency()
    return sorted(
        kept.values(),
        key=lambda f: (-SEVERITY_RANK[f.severity], place.get(f.code, len(place)), f.code, f.subject),
    )


#: FHIR request-priority, the most urgent first.
_PRIORITIES = ("stat", "asap", "urgent", "routine")


def asked_once(findings: Sequence[Finding]) -> list[Finding]:
    """No two cards offer the same test: the first of them does, as urgently as any of them asks."""
    wanted: dict[str, str] = {}
    for test in (o for f in findings for o in f.offers if isinstance(o, OrderTest)):
        wanted[test.test] = min(wanted.get(test.test, _PRIORITIES[-1]), test.priority, key=_place)
    found = []
    for finding in findings:
        offers: list[Offer] = []
        for offer in finding.offers:
            if not isinstance(offer, OrderTest):
                offers.append(offer)
            elif (priority := wanted.pop(offer.test, None)) is not None:
                offers.append(offer if priority == offer.priority else replace(offer, priority=priority))
        same = len(offers) == len(finding.offers) and all(map(is_, offers, finding.offers))
        found.append(finding if same else replace(finding, offers=tuple(offers)))
    return found


#: Information that says no more than that a test is worth doing, and when: (code, subject).
_ONLY_ASKS = frozenset(
    {
        ("level-suggested", "level-suggested"),
        ("monitoring-overdue", "monitoring-level"),
        ("anc-recheck-after-recovery", "anc"),
    }
)


def told_once(findings: Sequence[Finding]) -> list[Finding]:
    """No card only asks for a test that a card before it orders; what no other card tells of its reasons joins that card."""
    found: list[Finding] = []
    left: list[tuple[int, Finding]] = []
    by_test: dict[str, int] = {}
    for finding in findings:
        tests = [o.test for o in finding.offers if isinstance(o, OrderTest)]
        first = next((by_test[t] for t in tests if t in by_test), None)
        if first is not None and finding.severity == "info" and (finding.code, finding.subject) in _ONLY_ASKS:
            left.append((first, finding))
            continue
        for test in tests:
            by_test.setdefault(test, len(found))
        found.append(finding)
    told_of = {e.ref for f in found for e in f.evidence}
    for place, finding in left:
        if (also := _also(finding, told_of)) is not None:
            asking = found[place]
            found[place] = replace(asking, why=(*asking.why, also))
    return found


def _also(finding: Finding, told_of: set[str]) -> str | None:
    """What a finding without a card adds to the one that asks for its test; None: nothing. ``told_of``: evidence of other cards."""
    match finding.code:
        case "anc-recheck-after-recovery":
            return w.safe(finding.summary)
        case "level-suggested":
            reasons = tuple(Written(e.text) for e in finding.evidence if e.ref not in told_of)
            return (
                english().markdown(sentence("level-suggested.also", causes=Listed(reasons)))
                if reasons
                else None
            )
    return None


def _place(priority: str) -> int:
    return _PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES)


def detail_of(finding: Finding, remembered: Sequence[FromRegistry] = ()) -> str:
    """The Markdown body of a card. ``remembered``: what was put in from the registry."""
    parts: list[str] = []
    if finding.why:
        parts.append(_section("card.why", finding.why))
    says = [line for line in finding.policy_says if line]
    parts.append(_section("card.policy", [*says, source_text(finding.citation)]))
    if finding.suggested:
        steps = "\n".join([f"{n}. {_point(step)}" for n, step in enumerate(finding.suggested, 1)])
        parts.append(f"**{heading('card.suggested')}**\n\n{steps}")
    if finding.unchecked:
        parts.append(_section("card.unchecked", finding.unchecked))
    if remembered:
        parts.append(_section("card.registry", map(recalled_line, remembered)))
    refs = [e.ref for e in finding.evidence if e.ref]
    if refs:
        parts.append(_section("card.evidence", map(w.safe, dict.fromkeys(refs))))
    elif finding.missing:
        things = Listed(tuple(Written(thing) for thing in finding.missing))
        parts.append(_section("card.evidence", [english().markdown(sentence("card.missing", things=things))]))
    return "\n\n".join(parts)


def recalled_line(recalled: FromRegistry) -> str:
    """What was put in from the registry, as a line of a card."""
    if not recalled.parts:
        return english().markdown(sentence("card.not-recalled"))
    parts = Listed(tuple(Sentence(f"card.recalled-{part}") for part in recalled.parts), last="")
    return english().markdown(sentence("card.recalled", parts=parts, day=Day(recalled.since)))


def told(lines: Iterable[str]) -> list[str]:
    """The lines of one part of a card; of very many the first, and how many there are more, so that a person can read it."""
    all_ = list(lines)
    if len(all_) <= MOST_LINES:
        return all_
    more = sentence("card.more-lines", n=Number(len(all_) - MOST_LINES + 1, 0))
    return [*all_[: MOST_LINES - 1], english().markdown(more)]


@lru_cache(maxsize=64)
def heading(id: str) -> str:
    """The heading of one part of a card, by its id in the catalogue (``card.why``)."""
    return english().plain(Sentence(id))


def _section(id: str, lines: Iterable[str]) -> str:
    """A heading and its bullets; there is at least one."""
    points = "\n- ".join([_point(line) for line in told(lines)])
    return f"**{heading(id)}**\n\n- {points}"


def _point(line: str) -> str:
    """One line of a card. Rules escape what they take from the record; should one forget, it still ends no line and opens no tag."""
    line = one_line(line)
    return _TAG.sub("&lt;", line) if "<" in line else line


@lru_cache(maxsize=512)
def source_text(citation: Citation) -> str:
    """The line of a card that names its source."""
    return english().plain(sentence("card.source", citation=cited(citation)))


def card_of(finding: Finding, remembered: Sequence[FromRegistry] = ()) -> CardText:
    """One finding as a card."""
    return CardText(
        code=finding.code,
        title=title_of(finding.code),
        severity=finding.severity,
        summary=w.summary(finding.summary),
        detail=detail_of(finding, remembered),
        citation=finding.citation,
        subject=finding.subject,
        offers=finding.offers,
        overrides=finding.overrides or reasons_of(finding.code),
        evidence_refs=tuple(dict.fromkeys(e.ref for e in finding.evidence if e.ref)),
    )


def not_shown(code: str, severity: Severity, subject: str) -> Finding:
    """The finding in place of one that could not be written down: as severe as that one, for nobody knows what else it said."""
    title = Term("finding", code, title_of(code))
    failed = Found(
        code="data-unavailable",
        severity=severity,
        subject=f"card:{code}:{subject}",
        summary=sentence("card-failed.summary", title=title),
        why=(sentence("card-failed.why", title=title),),
        suggested=(sentence("card-failed.by-hand"), sentence("card-failed.operators")),
        missing=(sentence("card-failed.missing", title=title),),
        citation=own("fault"),
    )
    return in_words(failed, english())


def _card_or_notice(
    finding: Finding, remembered: Sequence[FromRegistry], on_fault: FaultObserver | None
) -> CardText:
    try:
        return card_of(finding, remembered)
    except Exception as fault:  # it costs itself, as a rule does
        if on_fault is not None:
            on_fault(f"card {finding.code}", fault)
        return card_of(not_shown(finding.code, finding.severity, finding.subject))


def cards_of(
    findings: Sequence[Finding],
    hook: str,
    limit: int = CARD_LIMIT,
    remembered: Sequence[FromRegistry] = (),
    *,
    on_fault: FaultObserver | None = None,
) -> list[CardText]:
    """Cards for a hook, most severe first, at most ``limit``; what goes beyond is listed on the last one.

    A card that cannot be built is replaced by a ``data-unavailable`` card that names it; ``on_fault`` is told.
    """
    chosen = asked_once(told_once(shown(findings, hook)))
    if len(chosen) <= limit:
        return [_card_or_notice(f, remembered, on_fault) for f in chosen]
    cards = [_card_or_notice(f, remembered, on_fault) for f in chosen[: limit - 1]]
    rest = chosen[limit - 1 :]
    last = _card_or_notice(rest[0], remembered, on_fault)
    more = "\n".join([f"- {line}" for line in told(map(_in_a_line, rest[1:]))])
    summary = sentence(
        "card.more-findings", summary=Written(last.summary.rstrip(".")), n=Number(len(rest) - 1, 0)
    )
    cards.append(
        CardText(
            code=last.code,
            title=last.title,
            severity=last.severity,
            summary=english().summary(summary),
            detail=f"{last.detail}\n\n**{heading('card.further')}**\n\n{more}",
            citation=last.citation,
            subject=last.subject,
            offers=last.offers,
            overrides=last.overrides,
            evidence_refs=last.evidence_refs,
        )
    )
    return cards


def _in_a_line(finding: Finding) -> str:
    """A finding that has no card of its own any more: its summary and how severe it is."""
    return english().markdown(
        sentence(
            "card.further-finding",
            summary=Written(w.safe(finding.summary)),
            severity=Sentence(f"card.severity-{finding.severity}"),
        )
    )
