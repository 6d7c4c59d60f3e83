"""Blood counts (clinical.md 2.1): missing, overdue, due soon, too low to start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.counts import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts import Analyte, Minimum
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import (
    NAMES,
    count_line,
    counts_readable,
    evidence_of,
    judged_kinds,
    names,
    order_cbc,
    pending_lines,
    population_lines,
    preliminary_anc,
    remove_drafts,
    short,
    stalest,
    start_line,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Finding, NotifyTeam, Severity

#: Hooks at which a policy that requires a current count for dispensing makes an overdue count critical (clinical.md 2.1).
_SUPPLY_HOOKS = frozenset({"order-sign", "medication-verify", "medication-refill"})
_DUE_SOON_HOOKS = frozenset({"patient-view", "encounter-discharge"})


def _minima(case: Case) -> list[tuple[Analyte, Minimum]]:
    """What must be reached before the first dose, the ANC first."""
    found = [(kind, case.policy.start.minimum(case.population, kind)) for kind in judged_kinds(case)]
    return [(kind, minimum) for kind, minimum in found if minimum is not None]


def _below_minimum(case: Case) -> list[tuple[Measurement, Minimum]]:
    """Newest counts that do not reach what the policy asks for before the first dose."""
    return [
        (newest, minimum)
        for kind, minimum in _minima(case)
        if (newest := case.worst_new(kind)) is not None and not minimum.reached(judged_value(newest))
    ]


def _minimum_text(minimum: Minimum) -> str:
    return f"{'at least' if minimum.comparator == '>=' else 'more than'} {w.count(minimum.value)}"


def _cited(case: Case) -> Citation:
    return case.policy.cite(case.interval.cited or case.policy.schedule[0])


@when("no-anc")
@when("starting", "continuing")
def anc_missing(case: Case) -> Iterator[Finding]:
    """No usable ANC at all."""
    if not (case.starting or case.continuing) or case.anc.newest is not None or not counts_readable(case):
        return
    required = case.policy.dispensing.requires_current_count
    severity: Severity = "critical" if case.starting or required.value else "warning"
    offers, steps = order_cbc(
        case, "urgent" if case.starting else "routine", "No ANC on record for clozapine"
    )
    why = [start_line(case)]
    found = [m for m in (preliminary_anc(case),) if m is not None]
    why += pending_lines(case)
    why += [
        f"A result that cannot be used: {w.safe(u.raw)} – {w.reason(u.reason)}."
        for u in case.anc.unusable[:2]
    ]
    if case.starting:
        summary = "No usable ANC on record: do not start clozapine without a baseline count."
        steps = (
            *steps,
            *(f"Start only with {_article(kind)} of {_minimum_text(m)}." for kind, m in _minima(case)),
        )
    else:
        summary = "No usable ANC on record for this patient on clozapine: order a CBC with differential."
    unchecked = (
        () if case.snapshot.state("counts") == "complete" else ("Not all blood counts could be read.",)
    )
    yield Finding(
        code="anc-missing",
        severity=severity,
        subject="anc",
        summary=summary,
        why=tuple(why),
        policy_says=(case.policy.start.says,)
        if case.starting
        else (f"{names(case)} {case.interval.label} at this stage.",),
        suggested=steps,
        unchecked=unchecked,
        evidence=evidence_of(case, *found),
        missing=("a usable ANC",),
        citation=case.policy.cite(_minima(case)[0][1]),
        offers=(*offers, *(remove_drafts(case) if case.starting else ())),
    )


@when("wbc-judged")
@when("starting", "continuing")
def wbc_missing(case: Case) -> Iterator[Finding]:
    """An ANC but no white cell count, under a policy that judges both."""
    if not case.uses_wbc or not (case.starting or case.continuing) or not counts_readable(case):
        return
    newest = case.anc.newest
    if newest is None or case.results("wbc").newest is not None:
        return  # without an ANC, anc-missing says it
    required = case.policy.dispensing.requires_current_count.value and case.hook in _SUPPLY_HOOKS
    offers, steps = order_cbc(
        case, "urgent" if case.starting else "routine", "No WBC on record for clozapine"
    )
    minimum = case.policy.start.minimum(case.population, "wbc")
    if case.starting:
        summary = "No usable WBC on record: this policy starts clozapine only with WBC and ANC."
        steps = (*steps, *((f"Start only with a WBC of {_minimum_text(minimum)}.",) if minimum else ()))
    else:
        summary = (
            "No usable WBC on record for this patient on clozapine: the policy judges WBC and ANC together."
        )
    yield Finding(
        code="anc-missing",
        severity="critical" if case.starting or required else "warning",
        subject="wbc",
        summary=summary,
        why=(f"{count_line(case, newest)}; no usable white cell count was found.", start_line(case)),
        policy_says=(case.policy.start.says,)
        if case.starting
        else (f"{names(case)} {case.interval.label} at this stage; the worse of the two decides.",),
        suggested=(*steps, "Check that the laboratory's code for the white cell count reaches this service."),
        evidence=evidence_of(case, newest),
        missing=("a usable WBC",),
        citation=case.policy.cite(minimum or case.policy.schedule[0]),
        offers=(*offers, *(remove_drafts(case) if case.starting else ())),
    )


@when("starting")
def baseline_missing(case: Case) -> Iterator[Finding]:
    """Starting on the lower minimum of benign ethnic neutropenia with fewer baseline counts than the policy asks for."""
    wanted = case.policy.start.ben_baseline_counts
    newest = case.anc.newest
    if wanted is None or newest is None or not case.starting or case.population != "ben":
        return  # without any ANC, anc-missing says it
    counts = case.series("anc")
    if len(counts) >= wanted.value or _below_minimum(case):
        return
    offers, steps = order_cbc(case, "urgent", "Baseline ANC in benign ethnic neutropenia")
    yield Finding(
        code="anc-missing",
        severity="warning",
        subject="anc-baseline",
        summary=f"{len(counts)} of {wanted.value:g} baseline ANCs on record: benign ethnic neutropenia needs its own baseline before clozapine.",
        why=(*(f"{count_line(case, m)}." for m in counts), *population_lines(case)),
        policy_says=(case.policy.start.says,),
        suggested=steps,
        unchecked=()
        if case.snapshot.state("counts") == "complete"
        else ("Not all blood counts could be read.",),
        evidence=evidence_of(case, *counts),
        missing=("a baseline ANC",),
        citation=case.policy.cite(wanted),
        offers=offers,
    )


def _article(kind: Analyte) -> str:
    return "a WBC" if kind == "wbc" else "an ANC"


@when("starting")
def baseline_count_too_old(case: Case) -> Iterator[Finding]:
    """The newest usable ANC (or WBC, where the policy judges it) was taken too long before the first dose."""
    newest, (window, cited) = stalest(case), case.policy.baseline_window
    if newest is None or not case.starting:
        return
    age, name = case.age_days(newest), NAMES[newest.kind]
    if age <= window:
        return
    offers, steps = order_cbc(case, "urgent", f"Baseline {name} of {w.days(age)} ago before clozapine")
    yield Finding(
        code="baseline-count-too-old",
        severity="critical",
        subject="anc",
        summary=w.summary(
            f"Baseline {short(case, newest)} is {w.days(age)} old, at most {w.days(window)}: do not start without a new count."
        ),
        why=(
            f"Last usable {name}: {count_line(case, newest)}, {w.days(age)} old.",
            *pending_lines(case),
            start_line(case),
            *population_lines(case),
        ),
        policy_says=(
            f"The count before the first dose is at most {w.days(window)} old.",
            case.policy.start.says,
        ),
        suggested=("Do not start clozapine before the new count is back.", *steps),
        unchecked=()
        if case.snapshot.state("counts") == "complete"
        else ("Not all blood counts could be read; a newer one may exist.",),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(cited),
        offers=(*offers, *remove_drafts(case)),
    )


@when("continuing")
def anc_overdue(case: Case) -> Iterator[Finding]:
    """The newest usable ANC (or WBC, where the policy judges it) is older than the interval that applies today."""
    newest = stalest(case)
    if newest is None or not case.continuing or case.starting:
        return
    interval = case.interval
    age = case.answered_days(newest)
    if age <= interval.days:
        return
    due = case.today - timedelta(days=age - interval.days)
    late = age - interval.days
    name = NAMES[newest.kind]
    required = case.policy.dispensing.requires_current_count.value and case.hook in _SUPPLY_HOOKS
    severity: Severity = (
        "critical"
        if required or age > case.policy.overdue.critical_intervals.value * interval.days
        else "warning"
    )
    offers, steps = order_cbc(
        case, "urgent" if severity == "critical" else "routine", f"{name} overdue since {due.isoformat()}"
    )
    team = () if case.is_order_hook else (NotifyTeam("anc-overdue", f"{name} due {due.isoformat()}"),)
    says = f"{names(case)} {interval.label} ({interval.why}): due every {w.days(interval.days)}."
    if required:
        says += " The policy requires a current count before clozapine is supplied."
    why = [
        f"Last usable {name}: {count_line(case, newest)}, {w.days(case.age_days(newest))} old.",
        *pending_lines(case),
        start_line(case),
        *population_lines(case),
    ]
    unchecked = (
        ()
        if case.snapshot.state("counts") == "complete"
        else ("Not all blood counts could be read; a newer one may exist.",)
    )
    yield Finding(
        code="anc-overdue",
        severity=severity,
        subject="anc",
        summary=w.summary(
            f"{name} overdue by {w.days(late)}: last {w.count(newest.value)} on {w.day(case.snapshot, newest.at)}, due {interval.label}."
        ),
        why=tuple(why),
        policy_says=(says,),
        suggested=steps,
        unchecked=unchecked,
        evidence=evidence_of(case, newest),
        citation=_cited(case),
        offers=(*offers, *team),
    )


@when("visit")
@when("taking")
def anc_due_soon(case: Case) -> Iterator[Finding]:
    """The next count is due within days; only where it can be planned."""
    newest = stalest(case)
    if case.hook not in _DUE_SOON_HOOKS or newest is None or not case.on_clozapine:
        return
    interval = case.interval
    left = interval.days - case.answered_days(newest)
    if interval.band is not None or not 0 <= left <= interval.due_soon_days(case.policy.schedule):
        return
    due = case.today + timedelta(days=left)
    offers, steps = order_cbc(case, "routine", f"{names(case)} due {due.isoformat()}")
    yield Finding(
        code="anc-due-soon",
        severity="info",
        subject="anc",
        summary=f"Next {'blood count' if case.uses_wbc else 'ANC'} is due on {due.isoformat()} ({interval.label}).",
        why=(f"Last usable {NAMES[newest.kind]}: {count_line(case, newest)}.", start_line(case)),
        policy_says=(f"{names(case)} {interval.label} ({interval.why}).",),
        suggested=steps,
        evidence=evidence_of(case, newest),
        citation=_cited(case),
        offers=offers,
    )


@when("starting")
def anc_below_initiation(case: Case) -> Iterator[Finding]:
    """Starting with a count below the policy's minimum."""
    if not case.starting:
        return
    below = _below_minimum(case)
    if not below:
        return
    newest, minimum = below[0]
    counts = [m for m, _ in below]
    bands = [band for m in counts if (band := case.band_of(m)) is not None]
    folded = tuple(dict.fromkeys(b.finding for b in bands if b.finding and b.treatment == "continue"))
    limit = w.count(minimum.value)
    relation = "below the minimum of" if minimum.comparator == ">=" else "not above the"
    both = f" WBC {w.count(counts[1].value)} is too low, too." if len(counts) > 1 else ""
    offers, steps = order_cbc(
        case, "urgent", f"Confirm a {NAMES[newest.kind]} below the minimum for starting clozapine"
    )
    yield Finding(
        code="anc-below-initiation",
        severity="critical",
        subject="anc",
        summary=w.summary(
            f"{short(case, newest)}: {relation} {limit}{'' if minimum.comparator == '>=' else ' needed'} for starting clozapine.{both}"
        ),
        why=(*(f"{count_line(case, m)}." for m in counts), start_line(case), *population_lines(case)),
        policy_says=(case.policy.start.says,),
        suggested=("Do not start clozapine.", *steps, "Look for another cause of the low count."),
        evidence=evidence_of(case, *counts),
        citation=case.policy.cite(minimum),
        offers=(*remove_drafts(case), *offers),
        also=folded,
    )


RULES = (
    anc_missing,
    wbc_missing,
    baseline_missing,
    baseline_count_too_old,
    anc_overdue,
    anc_due_soon,
    anc_below_initiation,
)
