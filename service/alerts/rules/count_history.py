"""The history of the counts (clinical.md 2.1): falling, recovered, unusable, after a stop, and what forbids another try."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts import wording as w
from service.alerts.asked import RELEVANT, when
from service.alerts.case import Case, bounded_by
from service.alerts.counts import judged_value
from service.alerts.facts import Measurement, UnusableResult
from service.alerts.falling import fall_of, flu_like_signs
from service.alerts.finding import Evidence, Finding
from service.alerts.interval import sampling_in
from service.alerts.policy_parts import Falling, Value
from service.alerts.rules.counting import (
    NAMES,
    count_line,
    counts_readable,
    evidence_of,
    judged_kinds,
    names,
    order_cbc,
    remove_drafts,
)
from service.alerts.rules.myocarditis import HEART_PROBLEMS, taken_before


@when("continuing")
def anc_falling(case: Case) -> Iterator[Finding]:
    """Counts fall fast before any band is reached."""
    if not case.continuing:
        return
    rule = case.policy.falling
    decided = case.decided
    if decided is not None and decided[0].finding is not None:
        return  # the band says more, and names the fall
    fall = fall_of(case)
    if fall is not None:
        before, now = fall.before, fall.now
        offers, steps = order_cbc(case, "urgent", f"{fall.name} falling")
        then = (f"Then {names(case)} {rule.every_label}.",) if rule.every_label else ()
        yield Finding(
            code="anc-falling",
            severity=rule.severity,
            changes_order=True,
            subject="anc",
            summary=w.summary(
                f"{fall.name} fell from {w.count(before.value)} ({w.day(case.snapshot, before.at)}) "
                f"to {w.count(now.value)} ({w.day(case.snapshot, now.at)}): repeat the count."
            ),
            why=(f"{count_line(case, now)}.", f"{count_line(case, before)}."),
            policy_says=(rule.says,),
            suggested=(*steps, *then, "Ask about fever, sore throat and new drugs."),
            evidence=evidence_of(case, now, before),
            citation=case.policy.cite(_cited_fall(rule, now.kind)),
            offers=offers,
            overrides="counts",
        )
        return
    signs = flu_like_signs(case)
    newest = case.anc.newest
    if signs is None or rule.flu_like is None:
        return
    counted = case.snapshot.day(newest.at) if newest is not None and newest.at is not None else None
    if signs.onset is not None and counted is not None and counted >= case.snapshot.day(signs.onset):
        return  # counted since: the denser interval says the rest
    offers, steps = order_cbc(case, "urgent", "Flu-like signs under clozapine")
    yield Finding(
        code="anc-falling",
        severity=rule.severity,
        subject="anc",
        summary=w.summary(
            f"{w.plain(signs.label)} ({w.day(case.snapshot, signs.onset)}) under clozapine: count {names(case)} {rule.every_label}."
        ),
        why=(
            f"Problem list: {w.safe(signs.label)}, {w.day(case.snapshot, signs.onset)}; no blood count since.",
        ),
        policy_says=(rule.says,),
        suggested=(*steps, f"Then {names(case)} {rule.every_label}.", "Look for infection."),
        evidence=(Evidence(signs.ref, w.safe(signs.label), signs.onset, signs.onset_date_only),),
        citation=case.policy.cite(rule.flu_like),
        offers=offers,
        overrides="counts",
    )


def _cited_fall(rule: Falling, kind: str) -> Value:
    found = rule.wbc_fall if kind == "wbc" else rule.anc_fall_percent or rule.anc_fall
    return found or rule.within_days


@when("visit")
@when("continuing")
def anc_recheck_after_recovery(case: Case) -> Iterator[Finding]:
    """The extra counts after a neutropenia are not complete; said at visits, an order meets them as anc-overdue."""
    if case.is_order_hook:
        return
    interval = case.interval
    newest = case.anc.newest
    if (
        not case.continuing
        or case.starting
        or newest is None
        or not interval.recovery_counts_left
        or interval.recovery is None
    ):
        return
    offers, steps = order_cbc(case, "routine", "Extra ANC after recovery from neutropenia")
    left = interval.recovery_counts_left
    yield Finding(
        code="anc-recheck-after-recovery",
        severity="info",
        subject="anc",
        summary=f"ANC has recovered: {left} more weekly count{'s' if left > 1 else ''} before the usual interval.",
        why=(
            f"Last usable ANC: {count_line(case, newest)}.",
            f"Due {interval.label}, so on {(case.today + timedelta(days=interval.days - case.age_days(newest))).isoformat()}.",
        ),
        policy_says=(
            f"After recovery: ANC every {interval.recovery.every_days} days, {interval.recovery.counts} times, then the last interval.",
        ),
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
        if newest is None
        or newest.at is None
        or u.at is None
        or u.at > newest.at
        # A calculated ANC takes the place of the one that was refused, but does not explain it.
        or (newest.calculated and u.at == newest.at)
    ]


@when("unusable-count")
@when(*RELEVANT)
def anc_unusable(case: Case) -> Iterator[Finding]:
    """A newer count exists that cannot be used: it is shown, not guessed."""
    if not case.relevant:
        return
    refused = [u for kind in judged_kinds(case) for u in _newer_unusable(case, kind)]
    if not refused:
        return
    refused.sort(key=lambda u: (u.at is not None, u.at.timestamp() if u.at is not None else 0), reverse=True)
    first = refused[0]
    name = NAMES[first.kind]
    offers, steps = order_cbc(case, "routine", "A reported count could not be used")
    newest = case.anc.newest
    why = [
        f"{name} result {w.safe(u.raw)} ({w.moment(case.snapshot, u.at, u.date_only)}) was not used: {w.reason(u.reason)}."
        for u in refused[:5]
    ]
    if newest is not None:
        why.append(f"The other checks use {count_line(case, newest)}.")
    yield Finding(
        code="anc-unusable",
        severity="warning",
        subject="anc",
        summary=w.summary(
            f"{name} result “{w.plain(first.raw, 30)}” was not used: {w.plain_reason(first.reason)}. Read it yourself."
        ),
        why=tuple(why),
        policy_says=("A value is never guessed: unit, date and sample must be clear.",),
        suggested=(
            "Read the original laboratory report.",
            "Ask the laboratory to send the unit with the value.",
            *steps,
        ),
        evidence=tuple(Evidence(u.ref, w.safe(u.raw), u.at, u.date_only) for u in refused[:5]),
        citation=case.policy.citation,
        offers=offers,
        overrides="counts",
    )


@when("stopped")
def anc_post_stop(case: Case) -> Iterator[Finding]:
    """Clozapine was stopped lately and the follow-up counts are missing."""
    rule = case.policy.post_stop
    stopped = case.course.stopped_at
    if case.on_clozapine or case.clozapine_drafts or stopped is None or not counts_readable(case):
        return
    days_stopped = case.days_since(stopped)
    if not 0 <= days_stopped <= rule.window_days.value:
        return
    until = (
        rule.ben_until_anc if case.population == "ben" and rule.ben_until_anc is not None else rule.until_anc
    )
    newest = case.anc.newest
    after = (
        newest is not None
        and newest.at is not None
        and case.snapshot.day(newest.at) > case.snapshot.day(stopped)
    )
    if until is not None and after and newest is not None and judged_value(newest) >= until.value:
        return
    every = int(rule.every_days.value) if rule.every_days is not None else case.interval.days
    decided = case.decided_by_settled
    sampling = sampling_in(case, *decided) if decided is not None else None
    if sampling is not None:
        every = min(every, sampling[0])
    # A protocol with counts of its own after a stop begins them at the stop; else the earlier rhythm goes on.
    if newest is not None and (after or rule.every_days is None or sampling is not None):
        waited = case.age_days(newest)
    else:
        waited = days_stopped
    if waited <= every:
        return
    offers, steps = order_cbc(case, "routine", "Follow-up ANC after clozapine was stopped")
    yield Finding(
        code="anc-post-stop",
        severity="warning",
        subject="anc",
        summary=f"Clozapine stopped on {w.day(case.snapshot, stopped)}: the follow-up {names(case)} {'are' if case.uses_wbc else 'is'} missing.",
        why=(
            f"Last known or estimated dose: {w.moment(case.snapshot, stopped, case.course.last_dose_date_only)}.",
            f"Last usable ANC: {count_line(case, newest)}."
            if newest is not None
            else "No usable ANC on record.",
            f"A count is due every {w.days(every)} now.",
        ),
        policy_says=(rule.says,),
        suggested=steps,
        evidence=evidence_of(case, *([newest] if newest is not None else [])),
        missing=("a count since the stop",),
        citation=case.policy.cite(rule.until_anc or rule.window_days),
        offers=offers,
        overrides="counts",
    )


def _too_few_white_cells(case: Case) -> Measurement | None:
    """An earlier WBC so low that the ANC, counted or not, forbade another try; where the WBC is judged it speaks for itself."""
    if case.uses_wbc or case.white_cells_suffice:
        return None
    decides = case.worst_new("anc")
    for wbc in case.series("wbc"):
        if wbc.bound == ">" or (decides is not None and wbc.at == decides.at):
            continue
        bound = bounded_by(wbc)
        band = case.band_of(bound)
        if band is not None and band.rechallenge:
            return bound
    return None


@when("abnormal-count", "problems")
@when("drafted")
def rechallenge_caution(case: Case) -> Iterator[Finding]:
    """Clozapine is drafted in a patient with severe neutropenia or myocarditis in the record."""
    if not case.clozapine_drafts:
        return
    evidence: list[Evidence] = []
    why: list[str] = []
    seen: list[str] = []
    severe = None
    for kind in judged_kinds(case):
        newest = case.worst_new(kind)
        for m, band in case.abnormal_wbc if kind == "wbc" else case.abnormal_anc:
            if m is newest or not band.rechallenge:
                continue
            severe = severe or band
            evidence += evidence_of(case, m)
            why.append(f"{count_line(case, m)}: {band.title}.")
            name, on = NAMES.get(m.kind, m.kind), w.day(case.snapshot, m.at)
            seen.append(f"{name} {w.bound_word(m)}{w.count(m.value)} on {on}")
            break
    if severe is None and (bound := _too_few_white_cells(case)) is not None:
        severe = case.band_of(bound)
        evidence += evidence_of(case, bound)
        why.append(f"{count_line(case, bound)}.")
        seen.append(f"ANC below {w.count(bound.value)} on {w.day(case.snapshot, bound.at)}")
    past = case.problems_of("agranulocytosis-history", history=True)
    past += tuple(p for p in case.problems_of(*HEART_PROBLEMS, history=True) if taken_before(case, p))
    for problem in dict.fromkeys(past):
        when = f" (since {w.day(case.snapshot, problem.onset)})" if problem.onset is not None else ""
        verified = (
            f", {w.safe(problem.verification)}" if problem.verification not in ("", "confirmed") else ""
        )
        why.append(f"Problem list: {w.safe(problem.label)}{when}{verified}.")
        seen.append(f"“{w.plain(problem.label, 40)}”{when}")
        evidence.append(Evidence(problem.ref, w.safe(problem.label), problem.onset, problem.onset_date_only))
    if not why:
        return
    never = severe is not None and severe.rechallenge == "never"
    severe = severe or next((b for b in case.policy.bands_of(case.population, "anc") if b.rechallenge), None)
    yield Finding(
        code="rechallenge-caution",
        severity="critical",
        subject="rechallenge",
        summary=w.summary(
            f"{seen[0]}{' and more' if len(seen) > 1 else ''} in the record: "
            + (
                "this policy allows no rechallenge with clozapine."
                if never
                else "rechallenge only if the benefit outweighs the risk."
            )
        ),
        why=tuple(why),
        policy_says=(severe.says,) if severe is not None else (),
        suggested=(
            "Ask a hematologist (neutropenia) or cardiologist (myocarditis) before going on.",
            "This policy does not allow another try after such a count."
            if never
            else "Document why the benefit outweighs the risk.",
        ),
        evidence=tuple(evidence),
        citation=case.policy.cite(severe) if severe is not None else case.policy.citation,
        offers=remove_drafts(case),
        overrides="counts",
    )


RULES = (anc_falling, anc_recheck_after_recovery, anc_unusable, anc_post_stop, rechallenge_caution)
