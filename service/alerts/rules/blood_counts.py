"""Blood counts (clinical.md 2.1): missing, overdue, due soon, too low to start, bands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.counts import judged_value
from service.alerts.facts import ClinicianFlag, Measurement
from service.alerts.finding import Finding, NotifyTeam, Offer, ReferTo, Severity
from service.alerts.interval import worst_band
from service.alerts.policy import Band, Value
from service.alerts.rules.counting import (
    count_line,
    counts_readable,
    evidence_of,
    order_cbc,
    population_lines,
    remove_drafts,
    short,
    start_line,
)

#: Hooks at which a policy that requires a current count for dispensing makes an overdue count critical (clinical.md 2.1).
_SUPPLY_HOOKS = frozenset({"order-sign", "medication-verify", "medication-refill"})
_DUE_SOON_HOOKS = frozenset({"patient-view", "encounter-discharge"})


def _minimum(case: Case) -> Value:
    start = case.policy.start
    return (
        start.ben_anc_minimum
        if case.population == "ben" and start.ben_anc_minimum is not None
        else start.anc_minimum
    )


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
    found = list(case.anc.preliminary[:1])
    why += [f"{count_line(case, m)}: a preliminary result does not replace a final one." for m in found]
    why += [f"A result that cannot be used: {w.safe(u.raw)} – {u.reason}." for u in case.anc.unusable[:2]]
    if case.starting:
        summary = "No usable ANC on record: do not start clozapine without a baseline count."
        steps = (*steps, f"Start only with an ANC of at least {w.count(_minimum(case).value)}.")
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
        else (f"ANC {case.interval.label} at this stage.",),
        suggested=steps,
        unchecked=unchecked,
        evidence=evidence_of(case, *found),
        missing=("a usable ANC",),
        citation=case.policy.cite(_minimum(case)),
        offers=(*offers, *(remove_drafts(case) if case.starting else ())),
        overrides="counts",
    )


def anc_overdue(case: Case) -> Iterator[Finding]:
    """The newest usable ANC is older than the interval that applies today."""
    newest = case.anc.newest
    if newest is None or not (case.starting or case.continuing):
        return
    interval = case.interval
    age = case.age_days(newest)
    if age <= interval.days:
        return
    due = case.today - timedelta(days=age - interval.days)
    late = age - interval.days
    required = case.policy.dispensing.requires_current_count.value and case.hook in _SUPPLY_HOOKS
    severity: Severity = (
        "critical"
        if required or age > case.policy.overdue.critical_intervals.value * interval.days
        else "warning"
    )
    offers, steps = order_cbc(
        case, "urgent" if severity == "critical" else "routine", f"ANC overdue since {due.isoformat()}"
    )
    team = () if case.is_order_hook else (NotifyTeam("anc-overdue", f"ANC due {due.isoformat()}"),)
    says = f"ANC {interval.label} ({interval.why}): due every {w.days(interval.days)}."
    if required:
        says += " The policy requires a current count before clozapine is supplied."
    why = [
        f"Last usable ANC: {count_line(case, newest)}, {w.days(age)} old.",
        start_line(case),
        *population_lines(case),
    ]
    unchecked = (
        ()
        if case.snapshot.state("counts") == "complete"
        else ("Not all blood counts could be read; a newer one may exist.",)
    )
    cited = interval.band or interval.recovery or interval.phase or case.policy.schedule[0]
    yield Finding(
        code="anc-overdue",
        severity=severity,
        subject="anc",
        summary=w.summary(
            f"ANC overdue by {w.days(late)}: last {w.count(newest.value)} on {w.day(case.snapshot, newest.at)}, due {interval.label}."
        ),
        why=tuple(why),
        policy_says=(says,),
        suggested=steps,
        unchecked=unchecked,
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(cited),
        offers=(*offers, *team),
        overrides="counts",
    )


def anc_due_soon(case: Case) -> Iterator[Finding]:
    """The next count is due within days; only where it can be planned."""
    newest = case.anc.newest
    if case.hook not in _DUE_SOON_HOOKS or newest is None or not case.on_clozapine:
        return
    interval = case.interval
    left = interval.days - case.age_days(newest)
    if interval.band is not None or not 0 <= left <= interval.due_soon_days:
        return
    due = case.today + timedelta(days=left)
    offers, steps = order_cbc(case, "routine", f"ANC due {due.isoformat()}")
    yield Finding(
        code="anc-due-soon",
        severity="info",
        subject="anc",
        summary=f"Next ANC is due on {due.isoformat()} ({interval.label}).",
        why=(f"Last usable ANC: {count_line(case, newest)}.", start_line(case)),
        policy_says=(f"ANC {interval.label} ({interval.why}).",),
        suggested=steps,
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(interval.phase or case.policy.schedule[0]),
        offers=offers,
        overrides="counts",
    )


def anc_below_initiation(case: Case) -> Iterator[Finding]:
    """Starting with a count below the policy's minimum."""
    newest = case.worst_new("anc")
    if not case.starting or newest is None:
        return
    minimum = _minimum(case)
    if judged_value(newest) >= minimum.value:
        return
    band = case.band_of(newest)
    folded = (band.finding,) if band is not None and band.finding and band.treatment == "continue" else ()
    offers, steps = order_cbc(case, "urgent", "Confirm an ANC below the minimum for starting clozapine")
    yield Finding(
        code="anc-below-initiation",
        severity="critical",
        subject="anc",
        summary=w.summary(
            f"{short(case, newest)}: below the minimum of {w.count(minimum.value)} for starting clozapine."
        ),
        why=(f"{count_line(case, newest)}.", start_line(case), *population_lines(case)),
        policy_says=(case.policy.start.says,),
        suggested=("Do not start clozapine.", *steps, "Look for another cause of the low count."),
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(minimum),
        offers=(*remove_drafts(case), *offers),
        overrides="counts",
        also=folded,
    )


def count_band(case: Case) -> Iterator[Finding]:
    """The newest count lies in an abnormal band of the policy."""
    if not case.relevant:
        return
    decided = worst_band(case, preliminary=True)
    if decided is None:
        return
    band, deciding = decided
    if band.finding is None or band.severity is None:
        return
    if case.starting and band.treatment == "continue":
        return  # anc-below-initiation says it; "clozapine may continue" would contradict it
    yield _band_finding(case, band, deciding)


def _band_finding(case: Case, band: Band, deciding: Measurement) -> Finding:
    assert band.finding is not None
    assert band.severity is not None
    stop = band.treatment != "continue"
    first = _is_first_report(case, band, deciding)
    confirm = (
        f"Repeat within {band.confirm_within_hours} hours to confirm."
        if first and band.confirm_within_hours
        else ""
    )
    offers, cbc_steps = order_cbc(
        case, "stat" if stop else "urgent", f"{band.title}: {short(case, deciding)}"
    )
    steps = list(band.steps)
    if confirm and not any("Repeat" in s for s in steps):
        steps.insert(1 if stop else 0, confirm)
    why = [f"{count_line(case, deciding)}: {band.title}."]
    previous = next(
        (
            m
            for m in case.series(deciding.kind)
            if m.at is not None and deciding.at is not None and m.at < deciding.at
        ),
        None,
    )
    if previous is not None:
        why.append(f"Before: {count_line(case, previous)}.")
    why += population_lines(case)
    if not case.starting and case.course.start is not None:
        why.append(start_line(case))
    unchecked: list[str] = []
    if case.policy.uses_wbc and case.results("wbc").newest is None:
        unchecked.append("No white cell count was found; the policy judges it beside the ANC.")
    removal = remove_drafts(case) if stop else ()
    referral: tuple[Offer, ...] = (
        (ReferTo("hematology", "urgent", f"{band.title}: {short(case, deciding)}"),)
        if band.consult_hematology
        else ()
    )
    agreed = case.agreed_deviation(judged_value(deciding)) if stop and deciding.kind == "anc" else None
    if agreed is not None and agreed.continue_at is not None:
        return _agreed_finding(case, band, deciding, agreed, agreed.continue_at, tuple(why), tuple(offers))
    action = "stop clozapine now" if band.treatment == "stop" or band.rechallenge else "interrupt clozapine"
    if not stop:
        action = f"count {band.every_label}" if band.every_label else "continue"
    return Finding(
        code=band.finding,
        severity=band.severity,
        subject="anc",
        summary=w.summary(f"{short(case, deciding)}: {band.title} – {action}."),
        why=tuple(why),
        policy_says=(band.says,),
        suggested=(*steps, *(s for s in cbc_steps if "already" in s)),
        unchecked=tuple(unchecked),
        evidence=evidence_of(case, deciding, *([previous] if previous is not None else [])),
        citation=case.policy.cite(band),
        offers=(*removal, *offers, *referral),
        overrides="counts",
    )


def _agreed_finding(
    case: Case,
    band: Band,
    deciding: Measurement,
    agreed: ClinicianFlag,
    continue_at: float,
    why: tuple[str, ...],
    offers: tuple[Offer, ...],
) -> Finding:
    """The band stays named, but a deviation that a clinician agreed for this patient decides what is asked for."""
    until = f" until {w.day(case.snapshot, agreed.expires)}" if agreed.expires is not None else ""
    assert band.finding is not None
    return Finding(
        code=band.finding,
        severity="warning",
        subject="anc",
        summary=w.summary(
            f"{short(case, deciding)}: {band.title}; agreed to continue from {w.count(continue_at)}{until}."
        ),
        why=(
            *why,
            f"Agreed deviation by {w.safe(agreed.by)} on {w.day(case.snapshot, agreed.at)}{until}: {w.safe(agreed.text)}",
        ),
        policy_says=(band.says, "The agreement in this service's registry departs from the policy."),
        suggested=(
            f"Check that the agreement still holds; below {w.count(continue_at)} the policy applies.",
            f"Sample {band.every_label}." if band.every_label else "Repeat the count.",
        ),
        evidence=evidence_of(case, deciding),
        citation=case.policy.cite(band),
        offers=offers,
        overrides="counts",
    )


def _is_first_report(case: Case, band: Band, deciding: Measurement) -> bool:
    """True unless the count before was already abnormal."""
    for m in case.series(deciding.kind):
        if m.at is not None and deciding.at is not None and m.at < deciding.at:
            earlier = case.band_of(m)
            return earlier is None or earlier.finding is None
    return True


RULES = (anc_missing, anc_overdue, anc_due_soon, anc_below_initiation, count_band)
