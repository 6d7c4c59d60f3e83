"""Fever, eosinophils and platelets (clinical.md 2.1): signs in the blood and at the bedside that cannot wait for the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.readings import exceeds, reaches, within_hours
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.count import count_evidence, count_line, offer_cbc, pending_lines
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.result import bound_of, name_of, on_day, when_of
from service.alerts.policy.words import policy_says, policy_word
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say.cited import cited_in_line
from service.alerts.say.finding import OrderTest, Severity
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import Count, Param, Quantity, Sentence, as_recorded, sentence


def _standing(m: Measurement) -> str:
    return "-preliminary" if m.status == "preliminary" else ""


def _temperature(m: Measurement) -> Sentence:
    amount = Quantity(m.value, "°C", 1)
    return sentence(f"result.value{_standing(m)}", name=name_of(m.kind), amount=amount)


def _cells(m: Measurement) -> Sentence:
    """``Eosinophils 1200/µL``."""
    return sentence(f"result.value{bound_of(m)}{_standing(m)}", name=name_of(m.kind), amount=Count(m.value))


def _fact(case: Case, m: Measurement, said: Param) -> Sentence:
    line = sentence("result.line", value=said, when=when_of(case, m), raw=as_recorded(m.as_sent))
    return sentence("result.fact", line=line)


@when("temperature")
@when("continuing", "stopped")
def fever(case: Case) -> Iterator[Found]:
    """A raised temperature in the last days, without a blood count since."""
    rule = case.policy.fever
    stopped = case.course.stopped_at
    lately_stopped = stopped is not None and 0 <= case.days_since(stopped) <= rule.after_stop_days.value
    if not (case.continuing or lately_stopped):
        return
    readings = within_hours(case, "temperature", rule.window_hours.value)
    if not readings:
        return
    highest = max(readings, key=lambda m: m.value)
    assert highest.at is not None
    day = case.least_course_day
    # A course whose start nobody knows may be in its first weeks.
    early = day < rule.early_days.value if day is not None else case.continuing
    full = highest.value >= rule.threshold.value
    if not full and not (early and highest.value >= rule.early_threshold.value):
        return
    count = case.anc.newest
    counted = count is not None and count.at is not None and count.at >= highest.at
    severity: Severity = "critical" if full and not counted else "warning"
    hold = full and not counted and case.continuing
    offers, steps = ((), ()) if counted else offer_cbc(case, "stat", sentence("fever.reason-cbc"))
    extra: tuple[Wish, ...] = (Wish(OrderTest("clozapine-level", "urgent"), sentence("fever.reason-level")),)
    if early:
        extra = (Wish(OrderTest("troponin-crp", "urgent"), sentence("fever.reason-troponin")), *extra)
    if counted and not early:
        extra = ()
    if full and case.continuing and not counted:
        extra = (*extra, Wish(OrderTest("ck", "urgent"), sentence("fever.reason-ck")))
    temperature = _temperature(highest)
    taken = "under" if case.continuing else "after-stop" if case.stop_known else "perhaps"
    asked = "counted" if counted else "hold" if hold else "now"
    yield Found(
        code="fever",
        severity=severity,
        subject="fever",
        summary=Sentence(
            f"fever.{taken}-{asked}", {"temperature": temperature, "day": on_day(case, highest)}
        ),
        why=(
            _fact(case, highest, temperature),
            sentence("fever.counted", line=count_line(case, count))
            if counted and count is not None
            else sentence("fever.not-counted"),
            *(() if counted else pending_lines(case)),
        ),
        policy_says=(
            policy_says(case.policy, "fever.says", rule.says),
            *(
                (
                    sentence(
                        "fever.hold-policy",
                        text=policy_word(case.policy, "fever.hold.value", rule.hold.value),
                        source=cited_in_line(case.policy.cite(rule.hold)),
                    ),
                )
                if hold
                else ()
            ),
        ),
        suggested=(
            *((sentence("fever.hold"),) if hold else ()),
            *steps,
            *((sentence("fever.troponin"),) if early else ()),
            sentence("fever.look"),
            *((sentence("fever.level"),) if extra else ()),
            *((sentence("fever.myocarditis"),) if full and case.continuing and not early else ()),
            *((sentence("fever.nms"),) if full and case.continuing else ()),
        ),
        evidence=(
            Fact(
                highest.ref,
                sentence("result.value", name=name_of(highest.kind), amount=Quantity(highest.value, "°C", 1)),
                highest.at,
                highest.date_only,
            ),
            *count_evidence(case, *([count] if counted and count is not None else [])),
        ),
        missing=() if counted else (sentence("fever.missing"),),
        citation=case.policy.cite(rule.threshold if full else rule.early_threshold),
        offers=(*offers, *extra),
    )


@when("eosinophils")
@when(*RELEVANT)
def eosinophilia(case: Case) -> Iterator[Found]:
    """Eosinophils above the policy's limit, or raised in the first weeks."""
    rule = case.policy.eosinophils
    if not case.relevant or not _any_eosinophilia(case):
        return
    newest = case.worst_new("eosinophils", higher_is_worse=True)
    if newest is None:
        return
    early = _in_first_weeks(case, newest) and exceeds(newest, rule.early.value)
    high = exceeds(newest, rule.high.value)
    waiting = not high and _not_yet_low_again(case)
    if not high and not early and not waiting:
        return
    cited = rule.high if high else rule.restart_below if waiting and rule.restart_below else rule.early
    stop = (high or waiting) and rule.high_severity == "critical"
    offers, _ = offer_cbc(case, "routine", sentence("eosinophilia.reason-cbc"))
    count = _cells(newest)
    yield Found(
        code="eosinophilia",
        severity=rule.high_severity if high or waiting else "info",
        changes_order=True,
        subject="eosinophils",
        summary=sentence(
            "eosinophilia.stop"
            if stop and high
            else "eosinophilia.not-low-enough"
            if stop
            else "eosinophilia.summary",
            count=count,
            day=on_day(case, newest),
        ),
        why=(
            _fact(case, newest, count),
            *((sentence("eosinophilia.were-above"),) if waiting else ()),
        ),
        policy_says=(policy_says(case.policy, "eosinophils.says", rule.says),),
        suggested=(
            *(
                (
                    sentence("eosinophilia.step-stop"),
                    sentence("eosinophilia.step-restart", count=Count(rule.restart_below.value)),
                )
                if stop and rule.restart_below is not None
                else ()
            ),
            sentence("eosinophilia.repeat"),
            sentence("eosinophilia.look"),
        ),
        evidence=count_evidence(case, newest),
        citation=case.policy.cite(cited),
        offers=(
            *(remove_drafts(case) if stop else ()),
            *offers,
            Wish(OrderTest("troponin-crp", "urgent"), sentence("eosinophilia.reason-troponin")),
        ),
    )


def _any_eosinophilia(case: Case) -> bool:
    """A quick look: False when no count of the record reaches a limit, so that none need be put in order."""
    limit = min(case.policy.eosinophils.early.value, case.policy.eosinophils.high.value)
    return any(
        m.value >= limit or reaches(m, limit) for m in case.snapshot.measurements.get("eosinophils", ())
    )


def _in_first_weeks(case: Case, m: Measurement) -> bool:
    """True when a count was taken in the first weeks of the course, or may have been; one from before the first dose is no sign."""
    day, days = case.course_day, case.policy.eosinophils.early_days.value
    if case.starting or m.at is None:
        return False
    return case.age_days(m) < days if day is None else day < days and case.age_days(m) <= day


def _not_yet_low_again(case: Case) -> bool:
    """The policy names a count below which clozapine may restart, and none was that low since the eosinophils were too high."""
    rule = case.policy.eosinophils
    if rule.restart_below is None:
        return False
    for m in case.series("eosinophils"):
        if m.value < rule.restart_below.value:
            return False
        if m.value > rule.high.value:
            return True
    return False


@when("platelets")
@when(*RELEVANT)
def thrombocytopenia(case: Case) -> Iterator[Found]:
    """Platelets below the limit."""
    rule = case.policy.platelets
    counts = case.snapshot.measurements.get("platelets", ())
    if not case.relevant or all(judged_value(m) >= rule.low.value for m in counts):
        return
    newest = case.worst_new("platelets")
    if newest is None or judged_value(newest) >= rule.low.value:
        return
    offers, _ = offer_cbc(case, "stat", sentence("thrombocytopenia.reason"))
    count = _cells(newest)
    yield Found(
        code="thrombocytopenia",
        severity="critical",
        subject="platelets",
        summary=sentence("thrombocytopenia.summary", count=count, day=on_day(case, newest)),
        why=(_fact(case, newest, count),),
        policy_says=(policy_says(case.policy, "platelets.says", rule.says),),
        suggested=(
            sentence("thrombocytopenia.stop"),
            sentence("thrombocytopenia.repeat"),
            sentence("thrombocytopenia.hematology"),
        ),
        evidence=count_evidence(case, newest),
        citation=case.policy.cite(rule.low),
        offers=(*remove_drafts(case), *offers),
    )


RULES = (fever, eosinophilia, thrombocytopenia)
