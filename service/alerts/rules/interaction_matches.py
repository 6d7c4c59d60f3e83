"""Which classes speak of which drug here, and how severely (clinical.md 2.4)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from service.alerts.case.beside import applies, base_severity
from service.alerts.case.bowel import SLOW_BOWEL
from service.alerts.case.case import Case
from service.alerts.case.level import hours_after_dose
from service.alerts.case.readings import exceeds, reaches
from service.alerts.case.seizures import SEIZURES
from service.alerts.case.standing import is_new
from service.alerts.case.together import Standing, latest_since, standing, taken_since
from service.alerts.facts.patient import Medication, Problem
from service.alerts.knowledge.class_effects import InteractionClass, Pair
from service.alerts.knowledge.classes import alerting_classes_of, classes, has_class
from service.alerts.knowledge.drugs import drugs
from service.alerts.say.finding import SEVERITY_RANK, Severity

_BOTH_WAYS = frozenset({"raises", "lowers"})
#: Effects that add up over several drugs: the card names the other ones.
ADDS_UP = frozenset({"qt", "bowel", "sedation"})
_STANDS: dict[Standing, Severity] = {
    "new": "critical",
    "level-needed": "warning",
    "changed": "warning",
    "takes-over": "warning",
    "smallest": "info",
    "reduced": "info",
    "first": "info",
    "settled": "info",
}


class Match(Struct, frozen=True):
    """One class that applies to one drug of the patient, with the severity it has here."""

    group: InteractionClass
    drug_id: str
    severity: Severity
    #: Of a strong inhibitor: how it and the dose stand to each other.
    standing: Standing | None = None
    #: Other drugs because of which it is as severe as it is, or with which it adds up.
    others: tuple[str, ...] = ()
    pair: Pair | None = None
    #: The documents of the drug itself forbid it beside clozapine, in the region of the policy.
    contraindicated: bool = False
    #: The dose or level of clozapine is so high, or the bowel so slow, that this class comes first.
    urgent: bool = False
    #: It is given by injection.
    injected: bool = False
    #: It is as severe as the region of the policy makes it, for the sake of the whole class.
    of_region: bool = False

    @property
    def rank(self) -> tuple[int, bool, int]:
        """The most severe first; of equally severe ones what is urgent, then what the drug's record names as leading."""
        lead = drugs()[self.drug_id].lead
        place = lead.index(self.group.id) if self.group.id in lead else len(lead)
        return -SEVERITY_RANK[self.severity], not (self.urgent or self.pair is not None), place


def rank(match: Match) -> tuple[int, bool, int]:
    """For sorting."""
    return match.rank


def moves_level(group: InteractionClass) -> bool:
    """The class raises or lowers the clozapine level."""
    return group.effect in _BOTH_WAYS


def matches(case: Case, drug_id: str, medication: Medication) -> list[Match]:
    """The classes that speak of a drug here, the one that leads first."""
    found: list[Match] = []
    left = case.policy.interactions.left_to_ehr
    for group in alerting_classes_of(drug_id):
        if not applies(group, drug_id, medication):
            continue
        slow = slow_bowel(case, group)
        if group.id in left and not slow:
            continue
        # A laxative quietens it in a healthy bowel; where one is slow already the bowel is named whatever is taken for it.
        if group.unless_taking and case.taken_now(group.unless_taking) and not slow:
            continue
        found.append(_match(case, group, drug_id, medication))
    if len(found) > 1:
        found.sort(key=rank)
    return found


def slow_bowel(case: Case, group: InteractionClass) -> tuple[Problem, ...]:
    """Problems of the bowel on the list, for a class that slows it."""
    return case.problems_of("gi-obstruction", *SLOW_BOWEL) if group.effect == "bowel" else ()


def _match(case: Case, group: InteractionClass, drug_id: str, medication: Medication) -> Match:
    if group.reduce_to_one_third:
        levels = [m for m in case.series("clozapine-level") if not _no_trough(case, m)]
        stands = standing(case, drug_id, levels)
        return Match(group, drug_id, _STANDS[stands], standing=stands)
    base = severity_of_product(group, drug_id, medication)
    if group.kept_for_emergency and is_kept_for_emergency(group, medication):
        base = "info"
    raised: list[Severity] = []
    own = drugs()[drug_id]
    if case.policy.interactions.severity_region == "eu":
        if "eu" in group.severity and group.id not in own.unraised:
            raised.append(group.severity["eu"])
        if group.id in own.severity_eu:
            raised.append(own.severity_eu[group.id])
    before = medication.role != "draft" and was_there_before(case, drug_id)
    for situation, holds in (("titration", case.in_titration), ("first_weeks", in_first_weeks(case))):
        # What was taken before clozapine began was told when it began; only what is critical is told again at each dose.
        if holds and situation in group.severity and not (before and group.severity[situation] != "critical"):
            raised.append(group.severity[situation])
    if drug_id in group.parenteral_critical and medication.parenteral:
        raised.append("critical")
    if _stands_out(case, group, drug_id, medication, base):
        raised.append(group.severity["default"])
    high = "high_dose" in group.severity and _is_high_dose(case)
    if high:
        raised.append(group.severity["high_dose"])
    others = _others_of(case, group, drug_id) if group.effect in ADDS_UP else ()
    if "qt_critical" in group.severity and (known := _qt_critical(case, drug_id)) is not None:
        raised.append(group.severity["qt_critical"])
        others = known or others
    pair = _pair(case, group, drug_id, medication)
    if pair is not None:
        raised.append(pair[0].severity)
        others = pair[1]
    severity = base
    if raised and SEVERITY_RANK[worst := max(raised, key=SEVERITY_RANK.__getitem__)] > SEVERITY_RANK[base]:
        severity = worst
    elif (
        not raised
        and "long_standing" in group.severity
        and drug_id not in group.severity_of
        and _is_settled(case, group, drug_id, before=before)
    ):
        severity = group.severity["long_standing"]
    eu = case.policy.interactions.severity_region == "eu"
    return Match(
        group,
        drug_id,
        severity,
        contraindicated=eu and own.severity_eu.get(group.id) == "critical",
        others=others,
        pair=pair[0] if pair is not None else None,
        urgent=high or bool(slow_bowel(case, group)),
        injected=medication.parenteral,
        of_region=eu and group.id not in own.unraised and group.severity.get("eu") == severity,
    )


def severity_of_product(group: InteractionClass, drug_id: str, medication: Medication) -> Severity:
    """How severe a class is for a drug in this product, unless something of the patient raises it."""
    quiet_beside = drugs()[drug_id].quiet_beside
    if quiet_beside and not any(word in medication.label.lower() for word in quiet_beside):
        return group.severity["default"]
    return base_severity(group, drug_id)


def _stands_out(
    case: Case, group: InteractionClass, drug_id: str, medication: Medication, base: Severity
) -> bool:
    """A drug that is told more quietly than its class does not stand alone, or not in an ordinary patient: then it is told as its class is.

    Not what has gone on for long: it shows by now.
    """
    if SEVERITY_RANK[base] >= SEVERITY_RANK[group.severity["default"]]:
        return False
    if group.effect == "qt" and has_long_qtc(case):
        return True
    if group.effect == "seizure" and case.problems_of(*SEIZURES):
        return True
    if _is_long(case, both_since(case, drug_id)):
        return False
    match group.effect:
        case "sedation":
            # A second antipsychotic is told for its own sake.
            others = (
                (drug_id, *_others_of(case, group, drug_id))
                if not has_class(drug_id, "antipsychotic")
                else ()
            )
            return medication.parenteral or sum(not has_class(d, "antipsychotic") for d in others) > 1
        case "qt":
            others = _others_of(case, group, drug_id)
            return medication.parenteral or any(group.id not in drugs()[d].visits_only for d in others)
        case "bowel":
            return not case.taken_now("laxative") or bool(_others_of(case, group, drug_id))
        case "raises":
            return _is_high_dose(case)
        case "marrow":
            return _beside_marrow(case, drug_id) or (group.long_acting_only and case.in_titration)
        case _:
            return False


def _beside_marrow(case: Case, drug_id: str) -> bool:
    """Another drug that can depress the marrow, and is warned of for it, is taken."""
    group = classes()["myelosuppressive"]
    return any(
        d != drug_id and has_class(d, group.id) and base_severity(group, d) != "info"
        for m in case.taken_now(group.id)
        for d in m.drugs
    )


def is_kept_for_emergency(group: InteractionClass, medication: Medication) -> bool:
    """A product that is carried for an emergency: not given for what the class warns of."""
    name = medication.label.lower()
    return any(word in name for word in group.kept_for_emergency)


def _no_trough(case: Case, level: object) -> bool:
    hours = hours_after_dose(case, level)  # type: ignore[arg-type]
    low, high = case.policy.levels.trough_hours_low.value, case.policy.levels.trough_hours_high.value
    return hours is not None and not low <= hours <= high


def in_first_weeks(case: Case) -> bool:
    """The weeks of clozapine in which myocarditis is to be feared."""
    day = case.course_day
    return case.starting or (day is not None and day < case.policy.myocarditis.window_days.value)


def _is_high_dose(case: Case) -> bool:
    dose = case.current_mg_per_day
    if dose is not None and dose > case.policy.dosing.seizure_above.value:
        return True
    level = case.newest("clozapine-level")
    return level is not None and exceeds(level, case.policy.levels.high.value)


def both_since(case: Case, drug_id: str) -> datetime | None:
    """Since when a drug and clozapine are taken together; None when it is not so yet, or nobody knows."""
    if case.starting:
        return None
    since = taken_since(case, drug_id)
    if since is None:
        return None
    since = latest_since(case, drug_id, since)
    start = case.course.start
    return since if start is None or start < since else start


def _is_long(case: Case, since: datetime | None) -> bool:
    return since is not None and case.days_since(since) > case.policy.interactions.long_standing_days.value


def was_there_before(case: Case, drug_id: str) -> bool:
    """The drug is older than this course, and no news any more: the start of clozapine was the moment to weigh it."""
    since, start = taken_since(case, drug_id), case.course.start
    if case.starting or since is None or start is None:
        return False
    latest = latest_since(case, drug_id, since)
    return latest < start and not is_new(case, latest)


def _is_settled(case: Case, group: InteractionClass, drug_id: str, *, before: bool) -> bool:
    """Both have been taken for longer than the policy calls long-standing, and the record shows what the class asks for."""
    since = taken_since(case, drug_id) if before else both_since(case, drug_id)
    if since is None or not (before or _is_long(case, since)):
        return False
    match group.settled_by:
        case "ecg":
            return _ecg_since(case, since)
        case "laxative":
            return bool(case.taken_now("laxative")) and not slow_bowel(case, group)
        case _:
            return True


def _ecg_since(case: Case, since: datetime) -> bool:
    """An ECG was taken since, and the newest QTc is not prolonged."""
    qtc, ecg = case.newest("qtc"), case.newest("ecg")
    if has_long_qtc(case):
        return False
    return any(m is not None and m.at is not None and m.at >= since for m in (qtc, ecg))


def has_long_qtc(case: Case) -> bool:
    """The newest QTc is prolonged."""
    qtc = case.newest("qtc")
    limit = case.policy.results.qtc_women if case.snapshot.sex == "female" else case.policy.results.qtc_men
    return qtc is not None and exceeds(qtc, limit.value)


def _qt_critical(case: Case, drug_id: str) -> tuple[str, ...] | None:
    """The other drugs of known risk, where QT is critical here (none where the QTc itself is); None where it is not."""
    qtc = case.newest("qtc")
    if qtc is not None and reaches(qtc, case.policy.results.qtc_critical.value):
        return ()
    if not has_class(drug_id, "qt-known-risk"):
        return None
    known = {d for m in case.taken_now("qt-known-risk") for d in m.drugs if has_class(d, "qt-known-risk")}
    others = sorted(known - {drug_id})
    if len(others) + 1 < case.policy.interactions.qt_drugs_critical.value:
        return None
    since = [both_since(case, d) for d in (drug_id, *others)]
    if None not in since:
        latest = max(at for at in since if at is not None)
        if _is_long(case, latest) and _ecg_since(case, latest):
            return None
    return tuple(others)


def _others_of(case: Case, group: InteractionClass, drug_id: str) -> tuple[str, ...]:
    """Other drugs of the same effect: what adds up."""
    same = ["anticholinergic", "constipating"] if group.effect == "bowel" else [group.id]
    found = {
        d
        for class_id in same
        for m in case.taken_now(class_id)
        for d in m.drugs
        if d != drug_id and d != "clozapine" and has_class(d, class_id)
    }
    return tuple(sorted(found))


def _pair(
    case: Case, group: InteractionClass, drug_id: str, medication: Medication
) -> tuple[Pair, tuple[str, ...]] | None:
    """A pair that must not meet, and its other drugs here."""
    for pair in group.pairs:
        if drug_id == pair.injected and medication.parenteral and not medication.long_acting:
            others = {d for m in case.taken_now(pair.beside) for d in m.drugs if has_class(d, pair.beside)}
        elif has_class(drug_id, pair.beside):
            others = {
                pair.injected
                for m in case.other_medications
                if pair.injected in m.drugs and m.parenteral and not m.long_acting
            }
        else:
            continue
        if others:
            return pair, tuple(sorted(others))
    return None
