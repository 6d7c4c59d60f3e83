"""Blood counts (clinical.md 2.1): missing, overdue, bands, falling, recovery, unusable, after stopping, rechallenge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.counts import judged_value
from service.alerts.facts import Measurement, UnusableResult
from service.alerts.finding import Evidence, Finding, NotifyTeam, Offer, OrderTest, ReferTo, RemoveDraft, Severity
from service.alerts.interval import worst_band
from service.alerts.policy import Band, Falling, Value

CBC = "cbc-with-differential"
#: Hooks at which a policy that requires a current count for dispensing makes an overdue count critical (clinical.md 2.1).
_SUPPLY_HOOKS = frozenset({"order-sign", "medication-verify", "medication-refill"})
_DUE_SOON_HOOKS = frozenset({"patient-view", "encounter-discharge"})


def count_line(case: Case, m: Measurement) -> str:
    """One count as a fact for the card: value, as sent, date, how it was obtained."""
    name = {"anc": "ANC", "wbc": "WBC"}.get(m.kind, m.kind)
    how = "calculated from " if m.calculated else "as sent: "
    preliminary = ", preliminary" if m.status == "preliminary" else ""
    corrected = ", corrected" if m.status == "corrected" else ""
    when = w.moment(case.snapshot, m.at, m.date_only)
    return f"{name} {w.bound_word(m)}{w.count(m.value)} on {when}{preliminary}{corrected} ({how}{w.safe(m.raw)})"


def evidence_of(case: Case, *measurements: Measurement) -> tuple[Evidence, ...]:
    """Counts as evidence."""
    return tuple(Evidence(m.ref, count_line(case, m), m.at, m.date_only) for m in measurements)


def short(case: Case, m: Measurement) -> str:
    """A count for a summary."""
    name = {"anc": "ANC", "wbc": "WBC"}.get(m.kind, m.kind)
    preliminary = " (preliminary)" if m.status == "preliminary" else ""
    return f"{name} {w.bound_word(m)}{w.count(m.value)} on {w.day(case.snapshot, m.at)}{preliminary}"


def order_cbc(case: Case, priority: str, reason: str) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """The offer of a CBC and its step, unless one is ordered already (cds-hooks.md R5a)."""
    ordered = case.test_ordered(CBC)
    if ordered is not None:
        where = "drafted in this session" if ordered.draft else "ordered"
        return (), (f"A CBC with differential is already {where}.",)
    return (OrderTest(CBC, priority=priority, reason=reason),), ("Order a CBC with differential.",)


def remove_drafts(case: Case) -> tuple[Offer, ...]:
    """Offers to remove every clozapine draft of the call."""
    if case.hook in ("medication-verify", "encounter-discharge"):
        return ()  # a signed order is the pharmacist's to refuse, not a draft to delete
    return tuple(RemoveDraft(d.ref, w.plain(d.label)) for d in case.clozapine_drafts if d.ref)


def start_line(case: Case) -> str:
    """When the course began, or that nobody knows."""
    if case.starting:
        return "Clozapine is being started." if not case.restarting else "Clozapine is being restarted as a new course."
    if case.course.start is None:
        return (
            "The start of treatment is not in the record: the shortest interval is used. "
            "A MedicationStatement or order with the start date supplies it."
        )
    return f"Present course since {w.day(case.snapshot, case.course.start)} (day {case.course_day})."


def population_lines(case: Case) -> tuple[str, ...]:
    """Which thresholds are used, and on what evidence."""
    if case.ben.confirmed:
        facts = w.listed([w.safe(e.text, 80) for e in case.ben.evidence[:2]])
        return (f"Thresholds for benign ethnic neutropenia are used: {facts}.",)
    if case.ben.unconfirmed:
        facts = w.safe(case.ben.unconfirmed[0].text, 80)
        return (f"Benign ethnic neutropenia is not confirmed ({facts}): general thresholds are used.",)
    return ()


def _minimum(case: Case) -> Value:
    start = case.policy.start
    return start.ben_anc_minimum if case.population == "ben" and start.ben_anc_minimum is not None else start.anc_minimum


def _counts_readable(case: Case) -> bool:
    return case.snapshot.state("counts") != "unavailable" or bool(case.snapshot.measurements.get("anc"))


def anc_missing(case: Case) -> Iterator[Finding]:
    """No usable ANC at all."""
    if not (case.starting or case.continuing) or case.anc.newest is not None or not _counts_readable(case):
        return
    required = case.policy.dispensing.requires_current_count
    severity: Severity = "critical" if case.starting or required.value else "warning"
    offers, steps = order_cbc(case, "urgent" if case.starting else "routine", "No ANC on record for clozapine")
    why = [start_line(case)]
    found = [m for m in case.anc.preliminary[:1]]
    why += [f"{count_line(case, m)}: a preliminary result does not replace a final one." for m in found]
    why += [f"A result that cannot be used: {w.safe(u.raw)} – {u.reason}." for u in case.anc.unusable[:2]]
    if case.starting:
        summary = "No usable ANC on record: do not start clozapine without a baseline count."
        steps = (*steps, f"Start only with an ANC of at least {w.count(_minimum(case).value)}.")
    else:
        summary = "No usable ANC on record for this patient on clozapine: order a CBC with differential."
    unchecked = () if case.snapshot.state("counts") == "complete" else ("Not all blood counts could be read.",)
    yield Finding(
        code="anc-missing",
        severity=severity,
        subject="anc",
        summary=summary,
        why=tuple(why),
        policy_says=(case.policy.start.says,) if case.starting else (f"ANC {case.interval.label} at this stage.",),
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
    severity: Severity = "critical" if required or age > case.policy.overdue.critical_intervals.value * interval.days else "warning"
    offers, steps = order_cbc(case, "urgent" if severity == "critical" else "routine", f"ANC overdue since {due.isoformat()}")
    team = () if case.is_order_hook else (NotifyTeam("anc-overdue", f"ANC due {due.isoformat()}"),)
    says = f"ANC {interval.label} ({interval.why}): due every {w.days(interval.days)}."
    if required:
        says += " The policy requires a current count before clozapine is supplied."
    why = [
        f"Last usable ANC: {count_line(case, newest)}, {w.days(age)} old.",
        start_line(case),
        *population_lines(case),
    ]
    unchecked = () if case.snapshot.state("counts") == "complete" else ("Not all blood counts could be read; a newer one may exist.",)
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
        summary=w.summary(f"{short(case, newest)}: below the minimum of {w.count(minimum.value)} for starting clozapine."),
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
    confirm = f"Repeat within {band.confirm_within_hours} hours to confirm." if first and band.confirm_within_hours else ""
    offers, cbc_steps = order_cbc(case, "stat" if stop else "urgent", f"{band.title}: {short(case, deciding)}")
    steps = list(band.steps)
    if confirm and not any("Repeat" in s for s in steps):
        steps.insert(1 if stop else 0, confirm)
    why = [f"{count_line(case, deciding)}: {band.title}."]
    previous = next((m for m in case.series(deciding.kind) if m.at is not None and deciding.at is not None and m.at < deciding.at), None)
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
        (ReferTo("hematology", "urgent", f"{band.title}: {short(case, deciding)}"),) if band.consult_hematology else ()
    )
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


def _is_first_report(case: Case, band: Band, deciding: Measurement) -> bool:
    """True unless the count before was already abnormal."""
    for m in case.series(deciding.kind):
        if m.at is not None and deciding.at is not None and m.at < deciding.at:
            earlier = case.band_of(m)
            return earlier is None or earlier.finding is None
    return True


def anc_falling(case: Case) -> Iterator[Finding]:
    """Counts fall fast before any band is reached."""
    if not case.continuing:
        return
    rule = case.policy.falling
    newest = case.worst_new("anc")
    band = case.band_of(newest) if newest is not None else None
    if newest is None or newest.at is None or (band is not None and band.finding is not None and rule.severity == "info"):
        return  # the band says more
    for kind in ("anc", "wbc"):
        fall = _steepest_fall(case, kind, rule)
        if fall is None:
            continue
        before, now = fall
        name = "ANC" if kind == "anc" else "WBC"
        offers, steps = order_cbc(case, "urgent", f"{name} falling")
        cited = rule.anc_fall_percent or rule.anc_fall or rule.within_days
        yield Finding(
            code="anc-falling",
            severity=rule.severity,
            changes_order=True,
            subject="anc",
            summary=w.summary(
                f"{name} fell from {w.count(before.value)} ({w.day(case.snapshot, before.at)}) "
                f"to {w.count(now.value)} ({w.day(case.snapshot, now.at)}): repeat the count."
            ),
            why=(f"{count_line(case, now)}.", f"{count_line(case, before)}."),
            policy_says=(rule.says,),
            suggested=(*steps, "Ask about fever, sore throat and new drugs."),
            evidence=evidence_of(case, now, before),
            citation=case.policy.cite(cited),
            offers=offers,
            overrides="counts",
        )
        return


def _steepest_fall(case: Case, kind: str, rule: Falling) -> tuple[Measurement, Measurement] | None:
    """(before, now) when the newest count fell as the policy's rule says."""
    now = case.worst_new(kind)
    if now is None or now.at is None:
        return None
    percent = rule.anc_fall_percent if kind == "anc" else None
    amount = rule.anc_fall if kind == "anc" else rule.wbc_fall
    below = rule.anc_below if kind == "anc" else rule.wbc_below
    if (percent is None and amount is None) or below is None or now.value >= below.value:
        return None
    since = now.at - timedelta(days=rule.within_days.value)
    earlier = [m for m in case.series(kind) if m.at is not None and since <= m.at < now.at]
    if not earlier:
        return None
    before = max(earlier, key=lambda m: m.value)
    if percent is not None and now.value <= before.value * (1 - percent.value / 100):
        return before, now
    if amount is not None and before.value - now.value >= amount.value:
        return before, now
    return None


def anc_recheck_after_recovery(case: Case) -> Iterator[Finding]:
    """The extra counts after a neutropenia are not complete."""
    interval = case.interval
    newest = case.anc.newest
    if not case.continuing or case.starting or newest is None or not interval.recovery_counts_left or interval.recovery is None:
        return
    offers, steps = order_cbc(case, "routine", "Extra ANC after recovery from neutropenia")
    left = interval.recovery_counts_left
    yield Finding(
        code="anc-recheck-after-recovery",
        severity="info",
        subject="anc",
        summary=f"ANC has recovered: {left} more weekly count{'s' if left > 1 else ''} before the usual interval.",
        why=(f"Last usable ANC: {count_line(case, newest)}.",),
        policy_says=(f"After recovery: ANC every {interval.recovery.every_days} days, {interval.recovery.counts} times, then the last interval.",),
        suggested=steps,
        evidence=evidence_of(case, newest),
        citation=case.policy.cite(interval.recovery),
        offers=offers,
        overrides="counts",
    )


def _newer_unusable(case: Case, kind: str) -> list[UnusableResult]:
    newest = case.results(kind).newest
    return [
        u
        for u in case.results(kind).unusable
        if newest is None or newest.at is None or u.at is None or u.at > newest.at
    ]


def anc_unusable(case: Case) -> Iterator[Finding]:
    """A newer count exists that cannot be used: it is shown, not guessed."""
    if not case.relevant:
        return
    kinds = ("anc", "wbc") if case.policy.uses_wbc else ("anc",)
    refused = [u for kind in kinds for u in _newer_unusable(case, kind)]
    if not refused:
        return
    first = refused[0]
    name = "WBC" if first.kind == "wbc" else "ANC"
    offers, steps = order_cbc(case, "routine", "A reported count could not be used")
    newest = case.anc.newest
    why = [
        f"{name} result {w.safe(u.raw)} ({w.moment(case.snapshot, u.at, u.date_only)}) was not used: {u.reason}."
        for u in refused[:5]
    ]
    if newest is not None:
        why.append(f"The other checks use {count_line(case, newest)}.")
    yield Finding(
        code="anc-unusable",
        severity="warning",
        subject="anc",
        summary=w.summary(f"{name} result “{w.plain(first.raw, 30)}” was not used: {first.reason}. Read it yourself."),
        why=tuple(why),
        policy_says=("A value is never guessed: unit, date and sample must be clear.",),
        suggested=("Read the original laboratory report.", "Ask the laboratory to send the unit with the value.", *steps),
        evidence=tuple(Evidence(u.ref, w.safe(u.raw), u.at, u.date_only) for u in refused[:5]),
        citation=case.policy.citation,
        offers=offers,
        overrides="counts",
    )


def anc_post_stop(case: Case) -> Iterator[Finding]:
    """Clozapine was stopped lately and the follow-up counts are missing."""
    rule = case.policy.post_stop
    stopped = case.course.stopped_at
    if case.on_clozapine or case.clozapine_drafts or stopped is None or not _counts_readable(case):
        return
    days_stopped = case.days_since(stopped)
    if not 0 <= days_stopped <= rule.window_days.value:
        return
    until = rule.ben_until_anc if case.population == "ben" and rule.ben_until_anc is not None else rule.until_anc
    newest = case.anc.newest
    after = newest is not None and newest.at is not None and case.snapshot.day(newest.at) > case.snapshot.day(stopped)
    if until is not None and after and newest is not None and judged_value(newest) >= until.value:
        return
    every = int(rule.every_days.value) if rule.every_days is not None else case.interval.days
    age = case.age_days(newest) if newest is not None else None
    if after and age is not None and age <= every:
        return
    if not after and days_stopped <= every:
        return
    offers, steps = order_cbc(case, "routine", "Follow-up ANC after clozapine was stopped")
    yield Finding(
        code="anc-post-stop",
        severity="warning",
        subject="anc",
        summary=f"Clozapine stopped on {w.day(case.snapshot, stopped)}: the follow-up ANC is missing.",
        why=(
            f"Last known or estimated dose: {w.moment(case.snapshot, stopped, case.course.last_dose_date_only)}.",
            f"Last usable ANC: {count_line(case, newest)}." if newest is not None else "No usable ANC on record.",
        ),
        policy_says=(rule.says,),
        suggested=steps,
        evidence=evidence_of(case, *([newest] if newest is not None else [])),
        missing=("a count since the stop",),
        citation=case.policy.cite(rule.window_days),
        offers=offers,
        overrides="counts",
    )


def rechallenge_caution(case: Case) -> Iterator[Finding]:
    """Clozapine is drafted in a patient with severe neutropenia or myocarditis in the record."""
    if not case.clozapine_drafts:
        return
    evidence: list[Evidence] = []
    why: list[str] = []
    newest = case.worst_new("anc")
    worst_bands = {b.name for b in case.policy.bands_of(case.population, "anc") if b.rechallenge}
    for m in case.series("anc"):
        band = case.band_of(m)
        if m is newest or band is None or band.name not in worst_bands:
            continue
        evidence += evidence_of(case, m)
        why.append(f"{count_line(case, m)}: {band.title}.")
        break
    for problem in case.problems_of("agranulocytosis-history", "myocarditis", "cardiomyopathy", history=True):
        when = f" (since {w.day(case.snapshot, problem.onset)})" if problem.onset is not None else ""
        verified = f", {problem.verification}" if problem.verification not in ("", "confirmed") else ""
        why.append(f"Problem list: {w.safe(problem.label)}{when}{verified}.")
        evidence.append(Evidence(problem.ref, w.safe(problem.label), problem.onset, problem.onset_date_only))
    if not why:
        return
    severe = next((b for b in case.policy.bands_of(case.population, "anc") if b.rechallenge), None)
    yield Finding(
        code="rechallenge-caution",
        severity="critical",
        subject="rechallenge",
        summary=w.summary("Clozapine is ordered after a severe reaction in the record: see the evidence before signing."),
        why=tuple(why),
        policy_says=(severe.says,) if severe is not None else (),
        suggested=(
            "Ask a hematologist (neutropenia) or cardiologist (myocarditis) before going on.",
            "Document why the benefit outweighs the risk.",
        ),
        evidence=tuple(evidence),
        citation=case.policy.cite(severe) if severe is not None else case.policy.citation,
        offers=remove_drafts(case),
        overrides="counts",
    )


RULES = (
    anc_missing,
    anc_overdue,
    anc_due_soon,
    anc_below_initiation,
    count_band,
    anc_falling,
    anc_recheck_after_recovery,
    anc_unusable,
    anc_post_stop,
    rechallenge_caution,
)
__all__: Iterable[str] = ("RULES", "count_line", "evidence_of", "order_cbc", "remove_drafts", "short", "start_line")
