"""May clozapine be handed out now, for how many days at most, until when, on which count – and if not, why.

The policy allows, forbids or leaves it to whoever hands out; the service decides nothing. It is worked out of a case and its findings, so that
it cannot say anything else than the cards of the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.case.baseline import was_begun_on_old_baseline
from service.alerts.case.case import Case
from service.alerts.case.judged_counts import judged_kinds, stalest
from service.alerts.case.stated import standing_statement
from service.alerts.evaluate import could_not_run
from service.alerts.facts.patient import ClinicianFlag, Measurement
from service.alerts.phrases.count import count_evidence, count_name, last_usable
from service.alerts.rules.supply import allowed_days, cited_supply
from service.alerts.say.finding import Citation, FaultObserver, Finding
from service.alerts.say.found import Found, told
from service.alerts.say.language import english
from service.alerts.say.sentence import (
    Counted,
    Day,
    Hours,
    Listed,
    Moment,
    Number,
    Record,
    Sentence,
    quoting,
    sentence,
)
from service.alerts.say.silence import must_stop

Verdict = Literal["cannot-say", "do-not", "not-the-usual", "not-allowed", "left-to-you", "allowed"]
VERDICTS: tuple[Verdict, ...] = (
    "cannot-say",
    "do-not",
    "not-the-usual",
    "not-allowed",
    "left-to-you",
    "allowed",
)
#: Sources without which nothing can be said.
NEEDED = ("counts", "medications")
#: Findings that a count is missing, or older than it may be.
_NO_CURRENT_COUNT = frozenset({"anc-missing", "anc-overdue", "baseline-count-too-old"})
#: Reasons that a person reads at a counter; of more the last line says how many.
_MOST_REASONS = 5
#: Characters of another finding's summary.
_SUMMARY = 140


class Answer(Struct, frozen=True, kw_only=True):
    """What the policy says of supply today.

    Args:
        verdict: ``cannot-say`` | ``do-not`` | ``not-the-usual`` (a restart dose first) | ``not-allowed`` | ``left-to-you`` | ``allowed``.
        says: the verdict in a sentence.
        reasons: why, the weightiest first; at most five.
        days: days' supply at most; None where no usual supply is handed out, or the policy leaves all to whoever does.
        until: the last day that these days cover.
        counts: the counts it rests on, those of which the oldest decides.
        next_due: when the next count is due.
        arithmetic: how the days come about.
        at_home: what the last dispense still covers; it is not taken off.
        unconfirmed: numbers in it that nobody has read in the primary text.
        at: the moment it was worked out for.
        holds: until when it holds.
        citation: where the policy says it.
    """

    verdict: Verdict
    says: Sentence
    reasons: tuple[Sentence, ...]
    days: int | None
    until: date | None
    counts: tuple[Measurement, ...]
    next_due: date | None
    arithmetic: Sentence | None
    at_home: Sentence | None
    unconfirmed: tuple[Sentence, ...]
    at: datetime
    holds: Sentence
    citation: Citation


class _Question(Struct, frozen=True):
    """A case, what was found of it, and when its record was read (None: with the question)."""

    case: Case
    findings: Sequence[Finding]
    read_at: datetime | None


class _Outcome(Struct, frozen=True):
    """What one check came to; ``quoted``: the findings that decided."""

    verdict: Verdict
    says: Sentence
    reasons: tuple[Sentence, ...] = ()
    quoted: tuple[Finding, ...] = ()
    unconfirmed: tuple[Sentence, ...] = ()


_Check = Callable[[_Question], _Outcome | None]


def dispensing(case: Case, findings: Sequence[Finding], read_at: datetime | None = None) -> Answer:
    """The answer for a case.

    Args:
        case: the patient, the policy and the moment.
        findings: everything that was found of the case.
        read_at: when the record was read; None: now, with the question.
    """
    question = _Question(case, findings, read_at)
    found = next((o for check in _CHECKS if (o := check(question)) is not None), None) or _allowed(question)
    counted = found.verdict == "allowed" or (
        found.verdict == "left-to-you" and _without_current_count(question) is None
    )
    days, by_count = allowed_days(case) if counted else (None, None)
    until = case.today + timedelta(days=days - 1) if days else None
    newest, due = stalest(case), _next_due(case)
    lines = [
        *found.reasons,
        *(last_usable(case, m) for m in (newest,) if m is not None),
        *_beyond_count(until, due),
        *_warnings(question, found),
    ]
    return Answer(
        verdict=found.verdict,
        says=found.says,
        reasons=_at_most(lines),
        days=days,
        until=until,
        counts=tuple(m for kind in judged_kinds(case) if (m := case.newest(kind)) is not None),
        next_due=due,
        arithmetic=_arithmetic(case, newest, days, until, due, by_count=by_count is not None),
        at_home=_at_home(case),
        unconfirmed=(*found.unconfirmed, *_unconfirmed(case, found, counted=counted)),
        at=case.as_of,
        holds=sentence("dispensing.holds", moment=Moment(case.as_of.astimezone(case.snapshot.zone))),
        citation=cited_supply(case)
        if counted
        else case.policy.cite(case.policy.dispensing.requires_current_count),
    )


# -- the checks, in their order: the first that has something to say decides ---------------------------------------


def _not_read(question: _Question) -> _Outcome | None:
    """Counts or orders were not all read, a count cannot be used, or a rule failed: newer results may say otherwise."""
    case = question.case
    unread = [Sentence(f"dispensing.source-{s}") for s in NEEDED if case.snapshot.state(s) != "complete"]  # type: ignore[arg-type]
    stops = tuple(_quoted(f) for f in _stopping(question))
    if unread:
        return _Outcome("cannot-say", sentence("dispensing.not-read", sources=Listed(tuple(unread))), stops)
    failed = [f for f in question.findings if f.subject.startswith("rule:")]
    unusable = [f for f in question.findings if f.code == "anc-unusable" and f.severity != "info"]
    worst = next(iter((*failed, *unusable)), None)
    if worst is None:
        return None
    return _Outcome("cannot-say", sentence("dispensing.cannot", why=_summary_of(worst)), stops, (worst,))


def _read_long_ago(question: _Question) -> _Outcome | None:
    """The record was read longer ago than the policy's limit."""
    case, limit = question.case, question.case.policy.dispensing.read_within_hours
    if question.read_at is None or case.hours_since(question.read_at) <= limit.value:
        return None
    return _Outcome(
        "cannot-say",
        sentence(
            "dispensing.read-long-ago",
            moment=Moment(question.read_at.astimezone(case.snapshot.zone)),
            ago=Hours(case.hours_since(question.read_at)),
        ),
        tuple(_quoted(f) for f in _stopping(question)),
        unconfirmed=()
        if limit.confirmed
        else (sentence("dispensing.unconfirmed-read", limit=Hours(limit.value)),),
    )


def _died(question: _Question) -> _Outcome | None:
    if not question.case.snapshot.deceased:
        return None
    return _Outcome("do-not", sentence("dispensing.deceased"))


def _must_stop(question: _Question) -> _Outcome | None:
    """A finding at which clozapine stops or is not started, of a preliminary result, too."""
    stops = _stopping(question)
    if not stops:
        return None
    return _Outcome(
        "do-not",
        sentence("dispensing.stop", why=_summary_of(stops[0])),
        tuple(_quoted(f) for f in stops),
        tuple(stops),
    )


def _stated(question: _Question) -> _Outcome | None:
    """A hold, a stop or "do not rechallenge" stands in the registry."""
    case = question.case
    flags = (standing_statement(case.flags_of_treatment), *case.flags("do-not-rechallenge")[-1:])
    standing = [flag for flag in flags if flag is not None]
    if not standing:
        return None
    lines = tuple(_statement(case, flag) for flag in standing)
    return _Outcome("do-not", sentence("dispensing.stated", what=lines[0]), lines)


def _statement(case: Case, flag: ClinicianFlag) -> Sentence:
    return Sentence(
        f"dispensing.stated-{flag.kind}", {"day": Day(case.snapshot.day(flag.at)), "by": Record(flag.by)}
    )


def _not_taken(question: _Question) -> _Outcome | None:
    """The record shows no clozapine: the order that is asked for is not in it."""
    case = question.case
    if case.on_clozapine or case.clozapine_drafts:
        return None
    at = case.course.stopped_at
    if at is not None:
        return _Outcome("cannot-say", sentence("dispensing.stopped", day=Day(case.snapshot.day(at))))
    return _Outcome("cannot-say", sentence("dispensing.no-clozapine"))


def _gap(question: _Question) -> _Outcome | None:
    """So long without a dose that another dose than the usual one is asked for."""
    missed = [f for f in question.findings if f.code == "missed-dose-retitrate" and f.severity != "info"]
    if not missed:
        return None
    return _Outcome(
        "not-the-usual",
        sentence("dispensing.gap", why=_summary_of(missed[0])),
        tuple(_quoted(f) for f in missed),
        tuple(missed),
    )


def _no_current_count(question: _Question) -> _Outcome | None:
    """A count is missing or too old: the policy forbids supply, or only recommends the count."""
    why = _without_current_count(question)
    if why is None:
        return None
    quoted = tuple(f for f in question.findings if f.code in _NO_CURRENT_COUNT)
    required = question.case.policy.dispensing.requires_current_count
    lines = tuple(_quoted(f) for f in quoted)
    if required.value:
        return _Outcome("not-allowed", sentence("dispensing.not-allowed", why=why), lines, quoted)
    return _Outcome("left-to-you", sentence("dispensing.count-recommended", why=why), lines, quoted)


def _another_danger(question: _Question) -> _Outcome | None:
    """Something else critical: an interaction, a level, the heart."""
    critical = [f for f in question.findings if f.severity == "critical" and f.code not in _NO_CURRENT_COUNT]
    if not critical:
        return None
    return _Outcome(
        "left-to-you",
        sentence("dispensing.danger", why=_summary_of(critical[0])),
        tuple(_quoted(f) for f in critical),
        tuple(critical),
    )


_CHECKS: tuple[_Check, ...] = (
    _not_read,
    _read_long_ago,
    _died,
    _must_stop,
    _stated,
    _not_taken,
    _gap,
    _no_current_count,
    _another_danger,
)


def _allowed(question: _Question) -> _Outcome:
    case = question.case
    days, _ = allowed_days(case)
    until = Day(case.today + timedelta(days=days - 1))
    if case.policy.dispensing.requires_current_count.value:
        return _Outcome("allowed", sentence("dispensing.allowed", until=until, days=Counted(days)))
    return _Outcome("allowed", sentence("dispensing.allowed-no-limit", until=until, days=Counted(days)))


# -- what they ask ------------------------------------------------------------------------------------------------


def _stopping(question: _Question) -> list[Finding]:
    """Findings at which clozapine stops; what is stated in the registry has a check of its own."""
    return [f for f in question.findings if must_stop(f.code, f.severity) and f.code != "stated-not-done"]


def _without_current_count(question: _Question) -> Sentence | None:
    """Why there is no current count, within a sentence; None when there is one."""
    case = question.case
    for kind in judged_kinds(case):
        if case.newest(kind) is None:
            return sentence("dispensing.no-count", name=count_name(kind))
    newest = stalest(case)
    assert newest is not None
    name = count_name(newest.kind)
    if case.starting and case.age_days(newest) > case.policy.baseline_window[0]:
        return sentence("dispensing.baseline-old", name=name, days=Counted(case.age_days(newest)))
    if not case.starting and was_begun_on_old_baseline(case, newest):
        return sentence("dispensing.baseline-old-then", name=name)
    late = case.answered_days(newest) - case.interval.days
    if late > 0 and not case.starting:
        return sentence("dispensing.overdue", name=name, days=Counted(late))
    if allowed_days(case)[0] < 1:
        return sentence("dispensing.due-today", name=name)
    if any(f.code == "anc-missing" for f in question.findings):
        return sentence("dispensing.baseline-few", name=name)
    return None


def _next_due(case: Case) -> date | None:
    """When the next count is due; None without any, and before the first dose."""
    newest = stalest(case)
    if newest is None or case.starting:
        return None
    return case.today + timedelta(days=case.interval.days - case.answered_days(newest))


def _summary_of(finding: Finding) -> Record:
    return quoting(finding.summary, _SUMMARY, _SUMMARY)


def _quoted(finding: Finding) -> Sentence:
    return sentence("dispensing.finding", summary=_summary_of(finding))


def _beyond_count(until: date | None, due: date | None) -> Iterator[Sentence]:
    """That the supply outlasts the count, where the policy does not end it there."""
    if until is not None and due is not None and until > due:
        yield sentence("dispensing.beyond-count", due=Day(due))


def _warnings(question: _Question, found: _Outcome) -> Iterator[Sentence]:
    """What else must not be passed over in silence: warnings that did not decide."""
    for finding in question.findings:
        if finding.severity == "warning" and finding not in found.quoted:
            yield _quoted(finding)


def _at_most(lines: Sequence[Sentence]) -> tuple[Sentence, ...]:
    if len(lines) <= _MOST_REASONS:
        return tuple(lines)
    left = len(lines) - (_MOST_REASONS - 1)
    return (*lines[: _MOST_REASONS - 1], sentence("dispensing.more", n=Number(left, 0)))


def _arithmetic(
    case: Case,
    newest: Measurement | None,
    days: int | None,
    until: date | None,
    due: date | None,
    *,
    by_count: bool,
) -> Sentence | None:
    """How the days come about."""
    if days is None or until is None:
        return None
    today, interval = Day(case.today), case.interval
    if not by_count:
        return sentence(
            "dispensing.by-interval", often=interval.label, days=Counted(days), today=today, until=Day(until)
        )
    assert newest is not None
    if due is None or case.answered_days(newest) != case.age_days(newest):
        # A baseline answers from the first dose on, not from its own day.
        end = Day(case.today + timedelta(days=days))
        return sentence("dispensing.by-baseline", due=end, today=today, days=Counted(days))
    return sentence(
        "dispensing.by-count",
        count=Day(due - timedelta(days=interval.days)),
        interval=Counted(interval.days),
        due=Day(due),
        today=today,
        days=Counted(days),
    )


def _at_home(case: Case) -> Sentence | None:
    until = case.course.supply_until
    if until is None or case.snapshot.day(until) < case.today:
        return None
    day = case.snapshot.day(until)
    return sentence("dispensing.at-home", day=Day(day), left=Counted((day - case.today).days))


def _unconfirmed(case: Case, found: _Outcome, *, counted: bool) -> Iterator[Sentence]:
    """Numbers of the answer that nobody has read in the primary text."""
    rule, interval = case.policy.dispensing, case.interval
    if rule.requires_current_count.value and not rule.requires_current_count.confirmed:
        yield sentence("dispensing.unconfirmed-required")
    if counted and interval.days in dict(rule.supply_by_interval) and not rule.supply_confirmed:
        yield sentence("dispensing.unconfirmed-supply")
    if counted and rule.until_next_count is not None and not rule.until_next_count.confirmed:
        yield sentence("dispensing.unconfirmed-until")
    by_interval = counted or found.verdict in ("not-allowed", "left-to-you")
    if by_interval and not getattr(interval.cited, "confirmed", True):
        yield sentence("dispensing.unconfirmed-interval", often=interval.label)
    for finding in found.quoted:
        if not finding.citation.confirmed and finding.code not in _NO_CURRENT_COUNT:
            yield sentence("dispensing.unconfirmed-finding", summary=_summary_of(finding))


# -- the card -----------------------------------------------------------------------------------------------------


def with_refill(case: Case, findings: list[Finding], on_fault: FaultObserver | None = None) -> list[Finding]:
    """The findings, and the answer among them where clozapine is refilled and no other finding says it.

    It says how much may be supplied where the request does not say for how long it is: what the request says is judged by
    ``supply-exceeds-interval``, and where the answer is not that supply is allowed, another card says why.
    """
    if case.hook != "medication-refill" or not case.clozapine_drafts:
        return findings
    if any(d.days_supply for d in case.clozapine_drafts):
        return findings
    try:
        answer = dispensing(case, findings)
        card = told(_card(case, answer), english()) if answer.verdict == "allowed" else None
    except Exception as fault:  # it costs itself, as a rule does
        if on_fault is not None:
            on_fault("dispensing", fault)
        card = could_not_run("dispensing")
    return findings if card is None else [*findings, card]


def _card(case: Case, answer: Answer) -> Found:
    return Found(
        code="dispensing",
        severity="info",
        subject="dispensing",
        changes_order=True,
        summary=answer.says,
        why=tuple(line for line in (answer.arithmetic, answer.at_home, *answer.reasons) if line is not None),
        policy_says=(*answer.unconfirmed,),
        suggested=(sentence("dispensing.hand-out-at-most", days=Counted(answer.days or 0)), answer.holds),
        evidence=count_evidence(case, *answer.counts),
        citation=answer.citation,
    )
