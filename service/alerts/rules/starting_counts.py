"""The blood count before the first dose (clinical.md 1.2, 2.1): too few, too old, too low."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from service.alerts.case.baseline import below_minimum, minima, was_begun_on_old_baseline
from service.alerts.case.case import Case
from service.alerts.case.judged_counts import stalest
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.count import (
    count_evidence,
    count_fact,
    count_name,
    last_usable_with_age,
    newer_may_exist,
    not_all_read,
    offer_cbc,
    pending_lines,
    population_lines,
    short_count,
    start_line,
)
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.start import start_says
from service.alerts.policy.parts.values import Minimum
from service.alerts.rules.asked import when
from service.alerts.rules.missing_counts import (
    held_lines,
    national_rules,
    offer_count,
    supply_forbidden,
    urgency,
)
from service.alerts.say.finding import ReferTo, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Count, Counted, Number, Sentence, sentence


@when("starting")
def baseline_missing(case: Case) -> Iterator[Found]:
    """Starting on the lower minimum of benign ethnic neutropenia with fewer baseline counts than the policy asks for."""
    wanted = case.policy.start.ben_baseline_counts
    newest = case.anc.newest
    if wanted is None or newest is None or not case.starting or case.population != "ben":
        return  # without any ANC, anc-missing says it
    counts = case.series("anc")
    if len(counts) >= wanted.value or below_minimum(case):
        return
    offers, steps = offer_count(case, "urgent", sentence("anc-missing.reason-baseline"))
    yield Found(
        code="anc-missing",
        severity="warning",
        subject="anc-baseline",
        summary=sentence(
            "anc-missing.baseline", found=Number(len(counts), 0), wanted=Number(wanted.value, 0)
        ),
        why=(*held_lines(case), *(count_fact(case, m) for m in counts), *population_lines(case)),
        policy_says=(start_says(case),),
        suggested=steps,
        unchecked=not_all_read(case),
        evidence=count_evidence(case, *counts),
        missing=(sentence("anc-missing.a-baseline-anc"),),
        citation=case.policy.cite(wanted),
        offers=offers,
    )


@when("starting")
def baseline_count_too_old(case: Case) -> Iterator[Found]:
    """The newest usable ANC (or WBC, where the policy judges it) was taken too long before the first dose."""
    newest = stalest(case)
    if newest is None or not case.starting:
        return
    age = case.age_days(newest)
    if age <= case.policy.baseline_window[0]:
        return
    found = _too_old(case, newest, age, "critical", "baseline-count-too-old.summary")
    yield replace(
        found,
        why=(*found.why, *population_lines(case)),
        suggested=(sentence("baseline-count-too-old.wait"), *found.suggested),
        offers=(*found.offers, *remove_drafts(case)),
    )


@when("continuing")
def begun_on_old_baseline(case: Case) -> Iterator[Found]:
    """Clozapine was begun some days ago, and the count before it was too old: nothing is overdue yet, but a count is missing.

    A warning, and critical where a supply is at hand that the policy is known to forbid without a current count. Where nobody has read that it
    does (EU 2025, Japan), a critical card would rest on two numbers of the service's own, this and the window of the baseline; the patient has
    taken the first doses already, the count is asked for as urgent, and from the first weekly date on the rule of overdue counts is stricter.
    """
    newest = stalest(case)
    if newest is None or not case.continuing or not was_begun_on_old_baseline(case, newest):
        return
    age = case.age_days(newest) - (case.course_day or 0)
    severity: Severity = "critical" if supply_forbidden(case) else "warning"
    found = _too_old(case, newest, age, severity, "baseline-count-too-old.begun")
    yield replace(found, policy_says=(*found.policy_says, *national_rules(case)))


def _too_old(case: Case, newest: Measurement, age: int, severity: Severity, summary: str) -> Found:
    """The count was so many days old at the first dose; ``summary``: id of the sentence that says so."""
    window, cited = case.policy.baseline_window
    old = Counted(age, at_most=newest.until is not None)
    reason = sentence("baseline-count-too-old.reason", name=count_name(newest.kind), age=old)
    offers, steps = offer_count(case, "urgent", reason)
    return Found(
        code="baseline-count-too-old",
        severity=urgency(case, severity),
        subject="anc",
        summary=sentence(summary, count=short_count(case, newest), age=old, window=Counted(window)),
        why=(*held_lines(case), last_usable_with_age(case, newest), *pending_lines(case), start_line(case)),
        policy_says=(sentence("baseline-count-too-old.policy", window=Counted(window)), start_says(case)),
        suggested=steps,
        unchecked=newer_may_exist(case),
        evidence=count_evidence(case, newest),
        citation=case.policy.cite(cited),
        offers=offers,
    )


@when("starting")
def anc_below_initiation(case: Case) -> Iterator[Found]:
    """Starting with a count below the policy's minimum."""
    if not case.starting:
        return
    below = below_minimum(case)
    if not below:
        return
    newest, minimum = below[0]
    counts = [m for m, _ in below]
    bands = [band for m in counts if (band := case.band_of(m)) is not None]
    folded = tuple(dict.fromkeys(b.finding for b in bands if b.finding and b.treatment == "continue"))
    offers, steps = offer_cbc(
        case, "urgent", sentence("anc-below-initiation.reason", name=count_name(newest.kind))
    )
    yield Found(
        code="anc-below-initiation",
        severity="critical",
        subject="anc",
        summary=_too_low(case, minimum, counts),
        why=(*(count_fact(case, m) for m in counts), start_line(case), *population_lines(case)),
        policy_says=(start_says(case),),
        suggested=(
            sentence("anc-below-initiation.do-not-start"),
            *steps,
            sentence("anc-below-initiation.other-cause"),
        ),
        evidence=count_evidence(case, *counts),
        citation=case.policy.cite(minimum),
        offers=(*remove_drafts(case), *offers),
        also=folded,
    )


@when("starting")
def start_by_open_threshold(case: Case) -> Iterator[Found]:
    """A start that only an unconfirmed minimum for benign ethnic neutropenia allows."""
    if not case.starting or case.population != "ben" or below_minimum(case):
        return
    relaxed = [
        (newest, minimum, general)
        for kind, minimum in minima(case)
        if not minimum.confirmed
        and (general := case.policy.start.minimum("general", kind)) is not None
        and (newest := case.worst_new(kind)) is not None
        and not general.reached(judged_value(newest))
    ]
    if not relaxed:
        return
    newest, minimum, general = relaxed[0]
    offers, steps = offer_cbc(
        case, "urgent", sentence("anc-below-initiation.reason", name=count_name(newest.kind))
    )
    yield Found(
        code="anc-below-initiation",
        severity="warning",
        subject="ben-minimum",
        summary=sentence(
            "anc-below-initiation.only-by-open",
            count=short_count(case, newest),
            limit=Count(general.value),
            ben=Count(minimum.value),
        ),
        why=(*(count_fact(case, m) for m, _, _ in relaxed), start_line(case), *population_lines(case)),
        policy_says=(start_says(case),),
        suggested=(sentence("anc-below-initiation.ask-hematology"), *steps),
        evidence=count_evidence(case, *(m for m, _, _ in relaxed)),
        citation=case.policy.cite(minimum),
        offers=(
            Wish(ReferTo("hematology", "urgent"), sentence("anc-below-initiation.reason-hematology")),
            *offers,
        ),
    )


def _too_low(case: Case, minimum: Minimum, counts: list[Measurement]) -> Sentence:
    """The count that is too low to start, and that the other one is too low as well. Counts as the policy judges them, the ANC first."""
    count, limit = short_count(case, counts[0]), Count(minimum.value)
    belongs = minimum.comparator == ">="
    if len(counts) == 1:
        return sentence(
            "anc-below-initiation.below" if belongs else "anc-below-initiation.not-above",
            count=count,
            limit=limit,
        )
    return sentence(
        "anc-below-initiation.both-below" if belongs else "anc-below-initiation.both-not-above",
        count=count,
        limit=limit,
        wbc=Count(counts[1].value),
    )


RULES = (
    baseline_missing,
    baseline_count_too_old,
    begun_on_old_baseline,
    anc_below_initiation,
    start_by_open_threshold,
)
