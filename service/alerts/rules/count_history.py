"""The history of the counts (clinical.md 2.1): falling, recovered, unusable, after a stop, and what forbids another try."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from service.alerts.case.banded import bounded_by
from service.alerts.case.case import Case
from service.alerts.case.counts import judged_value
from service.alerts.case.falling import fall_of, flu_like_signs
from service.alerts.case.interval import sampling_in
from service.alerts.facts.patient import Measurement, UnusableResult
from service.alerts.knowledge.conditions import kinds_by_text
from service.alerts.policy.parts import Band, Falling, Value
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.rules.count_lines import (
    NAMES,
    count_line,
    counts_readable,
    ending_line,
    evidence_of,
    judged_kinds,
    names,
    order_cbc,
    pending_lines,
    preliminary_anc,
    remove_drafts,
    short,
    without_differential,
)
from service.alerts.rules.listed import in_course, is_recent_problem
from service.alerts.rules.myocarditis import HEART_PROBLEMS, HEART_SAYS, heart_citation, taken_before
from service.alerts.rules.neutropenia import said_band
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding, ReferTo


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
    )


@when("wbc")
@when("continuing")
def anc_without_differential(case: Case) -> Iterator[Finding]:
    """The newest blood count came without a differential while an ANC is about due: it answers nothing."""
    if not case.continuing or case.starting:
        return
    newest, wbc = case.anc.newest, without_differential(case)
    if newest is None or wbc is None or preliminary_anc(case) is not None:
        return  # without any ANC anc-missing names it
    interval, age = case.interval, case.age_days(newest)
    if age > interval.days:
        return  # anc-overdue names it
    due = age >= interval.days - interval.due_soon_days(case.policy.schedule)
    if not due and case.is_order_hook:
        return
    offers, _ = order_cbc(case, "routine", "A blood count came without a differential")
    yield Finding(
        code="anc-unusable",
        severity="warning" if due else "info",
        subject="anc-differential",
        summary=w.summary(
            f"Blood count of {w.day(case.snapshot, wbc.at)} (WBC {w.count(wbc.value)}) has no differential: no ANC. Last ANC {w.days(age)} old."
        ),
        why=(*pending_lines(case), f"Last usable ANC: {count_line(case, newest)}."),
        policy_says=(
            f"{names(case)} {interval.label} at this stage; without a differential there is no ANC.",
        ),
        suggested=(
            "Ask the laboratory for the differential of this sample.",
            "Else repeat the count with a differential.",
        ),
        evidence=evidence_of(case, wbc, newest),
        missing=("an ANC of the newest blood count",),
        citation=case.policy.cite(interval.cited or case.policy.schedule[0]),
        offers=offers,
        changes_order=due,
    )


def _low_at_stop(case: Case) -> tuple[Band, Measurement] | None:
    """The count for which clozapine seems to have been stopped, with its band: the newest one of then, or the worst since.

    None when the counts of then allowed clozapine to go on: it was stopped for another reason.
    """
    stopped = case.course.stopped_at
    if stopped is None:
        return None
    last_day = case.snapshot.day(stopped)
    found: tuple[Band, Measurement] | None = None
    for kind in judged_kinds(case):
        for m, is_newest in _since_stop(case.series(kind), case, last_day):
            band = case.band_of(m)
            if band is None or band.treatment == "continue":
                continue
            # The newest is named, for it says where the patient stands; of two kinds the worse.
            if found is None or (is_newest and band.at_least < found[0].at_least):
                found = band, m
    return found


def _since_stop(
    counts: tuple[Measurement, ...], case: Case, last_day: date
) -> Iterator[tuple[Measurement, bool]]:
    """Counts after the stop and the last one before it, newest first, each with whether it is the newest of all."""
    for number, m in enumerate(counts):
        yield m, number == 0
        if m.at is not None and case.snapshot.day(m.at) <= last_day:
            return


def _stopped_for_counts(case: Case) -> Band | None:
    """The band that a stop for neutropenia points to when no count shows it: the reason on the order, or the problem list."""
    kinds = set(kinds_by_text(case.course.stop_reason)) if case.course.stop_reason else set()
    bands = [b for b in case.policy.bands_of(case.population, "anc") if b.treatment != "continue"]
    if not bands or not kinds & {"neutropenia", "agranulocytosis-history", "neutropenic-fever"}:
        return None
    # Bands stand lowest first: the reason names agranulocytosis, or a neutropenia of unknown depth.
    return bands[-1] if kinds == {"neutropenia"} else bands[0]


@when("stopped")
def anc_post_stop(case: Case) -> Iterator[Finding]:
    """Clozapine was stopped lately and the follow-up counts are missing; after a low count by the rule of its band."""
    rule = case.policy.post_stop
    stopped = case.course.stopped_at
    if case.on_clozapine or case.clozapine_drafts or stopped is None or not counts_readable(case):
        return
    if said_band(case) is not None:
        return  # the count itself forbids clozapine and asks for the next one: one card, not two
    if not case.stop_known:
        return  # data-unavailable says that the orders could not be read
    days_stopped = case.days_since(stopped)
    ben = case.population == "ben"
    newest = case.anc.newest
    after = (
        newest is not None
        and newest.at is not None
        and case.snapshot.day(newest.at) > case.snapshot.day(stopped)
    )
    # What the order says of the reason holds until a count since tells more.
    reason = None if after else _stopped_for_counts(case)
    critical_below = rule.ben_critical_below if ben else rule.critical_below
    severe = newest is not None and judged_value(newest) < critical_below.value
    severe = severe or (reason is not None and reason.at_least == 0)
    window = rule.critical_window_days if severe else rule.window_days
    if not 0 <= days_stopped <= window.value:
        return
    until = rule.ben_until_anc if ben and rule.ben_until_anc is not None else rule.until_anc
    if until is not None and after and newest is not None and judged_value(newest) >= until.value:
        return
    every = int(rule.every_days.value) if rule.every_days is not None else case.interval.days
    label = f"every {w.days(every)}"
    decided = case.decided_by_settled
    sampling = sampling_in(case, *decided) if decided is not None else None
    if sampling is None and reason is not None and reason.every_days is not None:
        sampling = reason.every_days, reason.every_label
    if sampling is not None and sampling[0] <= every:
        every, label = sampling
    low = _low_at_stop(case)
    ending = case.course.ending
    # A protocol with counts of its own after a stop begins them at the stop; else the earlier rhythm goes on. A stop on an unknown
    # day may lie before the last count.
    if newest is not None and (
        after or rule.every_days is None or low is not None or sampling is not None or ending is not None
    ):
        waited = case.age_days(newest)
    else:
        waited = days_stopped
    # Without any count on record none shows that the blood was well when clozapine was stopped.
    if newest is not None and waited <= every:
        return
    band = low[0] if low is not None else reason
    stale = newest is None and not severe and _is_long_silent(case)
    if stale and case.is_order_hook:
        return  # no news, and nothing that another order could change
    offers, steps = order_cbc(
        case, "stat" if severe else "routine", "Follow-up ANC after clozapine was stopped"
    )
    completed = ending is not None and ending.carried_out
    since = "order completed" if completed else "stopped or on hold"
    if ending is None:
        since = f"stopped on {w.day(case.snapshot, stopped)}"
    counts = names(case)
    if severe and newest is not None and low is not None:
        summary = f"{short(case, newest)}, clozapine {since}, no count since: count now, then {label}."
    elif band is not None and severe:
        summary = f"Clozapine {since} for neutropenia and no {counts} since: count now, then {label}."
    elif stale:
        assert ending is not None
        summary = (
            f"The clozapine order of {w.day(case.snapshot, ending.start)} is over, since when is not known, and no {counts} is on record: "
            "count if it was taken lately."
        )
    elif newest is None:
        summary = f"Clozapine {since} and no {counts} on record: count now."
    elif ending is not None:
        summary = (
            f"{'The last clozapine order is completed' if completed else 'Clozapine is stopped or on hold'}, since when is not on record: the follow-up {counts} "
            f"{'are' if case.uses_wbc else 'is'} missing (last usable ANC {w.day(case.snapshot, newest.at)})."
        )
    else:
        summary = f"Clozapine {since}: the follow-up {counts} {'are' if case.uses_wbc else 'is'} missing."
    yield Finding(
        code="anc-post-stop",
        severity="critical" if severe else "info" if stale else "warning",
        subject="anc",
        summary=w.summary(summary),
        why=(
            ending_line(case)
            or f"Last known or estimated dose: {w.moment(case.snapshot, stopped, case.course.last_dose_date_only)}.",
            *(
                (f"Reason on the order: {w.safe(case.course.stop_reason)}.",)
                if case.course.stop_reason
                else ()
            ),
            f"Last usable ANC: {count_line(case, newest)}."
            if newest is not None
            else "No usable ANC on record.",
            f"A count is due {label} now.",
            *pending_lines(case),
        ),
        policy_says=(band.says,) if band is not None else (rule.says,),
        suggested=(
            *steps,
            *((s for s in band.steps if "clozapine" not in s.lower()) if band is not None and severe else ()),
            *(("Clozapine stays stopped.",) if severe else ()),
        ),
        evidence=evidence_of(case, *([newest] if newest is not None else [])),
        missing=("a count since the stop",),
        citation=case.policy.cite(band or rule.until_anc or rule.window_days),
        offers=(
            *offers,
            *((ReferTo("hematology", "urgent", "Severe neutropenia, no count since"),) if severe else ()),
        ),
    )


def _is_long_silent(case: Case) -> bool:
    """Nothing is known of clozapine for so long that counts, had there ever been any, would show that treatment is over.

    Where no count ever reached this service their silence proves nothing, so the order is believed for longer; as news it is old.
    """
    ending, rule = case.course.ending, case.policy.unknown_end
    if ending is None or ending.earliest is None or ending.latest_by not in ("", "silence"):
        return False
    silence = rule.silent_intervals.value * max(case.interval.days, case.policy.interruption.new_course.value)
    return case.days_since(ending.earliest) > silence


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
    counts_found = bool(seen)
    blood = case.problems_of("agranulocytosis-history", history=True)
    # Fever in neutropenia that is over was a severe neutropenia; while it lasts neutropenic-fever says more.
    blood += tuple(
        p
        for p in case.problems_of("neutropenic-fever", history=True)
        if taken_before(case, p)
        and (
            p not in case.problems_of("neutropenic-fever")
            or (p.onset is not None and not is_recent_problem(case, p))
        )
    )
    heart = tuple(p for p in case.problems_of(*HEART_PROBLEMS, history=True) if taken_before(case, p))
    # One from before this course was weighed when clozapine was begun again.
    active = [p for p in case.problems_of(*HEART_PROBLEMS) if p in heart and in_course(case, p)]
    # What goes on now comes first: nothing that is over is as urgent.
    heart = tuple(dict.fromkeys((*active, *heart)))
    listed = []
    for problem in dict.fromkeys((*active, *blood, *heart)):
        on = f" (since {w.day(case.snapshot, problem.onset)})" if problem.onset is not None else ""
        unsure = f", {w.safe(problem.verification)}" if problem.verification not in ("", "confirmed") else ""
        why.append(f"Problem list: {w.safe(problem.label)}{on}{unsure}.")
        listed.append(f"“{w.plain(problem.label, 40)}”{on}")
        evidence.append(Evidence(problem.ref, w.safe(problem.label), problem.onset, problem.onset_date_only))
    if not why:
        return
    seen = listed + seen if active else seen + listed
    never = severe is not None and severe.rechallenge == "never"
    if counts_found or blood:
        severe = severe or next(
            (b for b in case.policy.bands_of(case.population, "anc") if b.rechallenge), None
        )
    more = " and more" if len(seen) > 1 else ""
    if active:
        summary = f"{seen[0]}{more} under clozapine: stop clozapine, do not renew it; cardiology now."
    else:
        summary = f"{seen[0]}{more} in the record: " + (
            "this policy allows no rechallenge with clozapine."
            if never
            else "rechallenge only if the benefit outweighs the risk."
        )
    specialists = [
        *(("a cardiologist",) if heart else ()),
        *(("a hematologist",) if counts_found or blood else ()),
    ]
    yield Finding(
        code="rechallenge-caution",
        severity="critical",
        subject="rechallenge",
        summary=w.summary(summary),
        why=tuple(why),
        policy_says=(
            *((HEART_SAYS,) if heart else ()),
            *((severe.says,) if severe is not None else ()),
        ),
        suggested=(
            *(("Stop clozapine; do not sign this order.",) if active else ()),
            f"Ask {w.listed(specialists)}{' at once' if active else ' before going on'}.",
            *(
                (
                    "Troponin, CRP, ECG, echocardiogram.",
                    "If the problem is over, close it on the problem list.",
                )
                if active
                else ()
            ),
            "This policy does not allow another try after such a count."
            if never
            else "Document why the benefit outweighs the risk.",
        ),
        evidence=tuple(evidence),
        citation=heart_citation(case)
        if active or not (counts_found or blood)
        else case.policy.cite(severe)
        if severe is not None
        else case.policy.citation,
        offers=(
            *remove_drafts(case),
            *((ReferTo("cardiology", "stat", "Heart problem under clozapine"),) if active else ()),
        ),
        overrides="general" if active else "counts",
    )


RULES = (
    anc_falling,
    anc_recheck_after_recovery,
    anc_unusable,
    anc_without_differential,
    anc_post_stop,
    rechallenge_caution,
)
