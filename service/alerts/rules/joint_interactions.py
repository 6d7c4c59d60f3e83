"""One card for several drugs: those that move the clozapine level together, and, at a visit, those that are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from service.alerts.case.beside import base_severity
from service.alerts.case.case import Case
from service.alerts.case.readings import reaches
from service.alerts.case.smoking import SmokingChange, smoking_change
from service.alerts.case.together import ROUNDED, dose_before_stopped, taken_since
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import alerting_classes_of, offset_days, onset_days
from service.alerts.knowledge.drugs import drugs
from service.alerts.phrases.result import offer_test
from service.alerts.rules.interaction_matches import Match, matches, moves_level
from service.alerts.rules.interaction_words import (
    change_to,
    cite,
    doses_beside,
    doubts,
    drug,
    drugs_first,
    drugs_within,
    ended,
    first_level_days,
    headline,
    level_high,
    level_low,
    says_of,
    says_of_stop,
    start_small,
    started,
    third_of,
    time_line,
    time_line_of,
    title,
    together,
)
from service.alerts.rules.left_drugs import Left, left_drugs, still_moves
from service.alerts.say import wording as w
from service.alerts.say.finding import SEVERITY_RANK, Offer, RemoveDraft, Severity, worst
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import (
    Counted,
    Day,
    Dose,
    Listed,
    Number,
    Param,
    Record,
    Sentence,
    quoted,
    sentence,
)

#: From so many on, what is known already is told on one card at a visit.
_KNOWN_TOGETHER = 3
_WARNING = SEVERITY_RANK["warning"]
#: What is told in a call: drugs of one product -> its record and its classes.
Told = Mapping[tuple[str, ...], tuple[Medication, list[Match]]]


class Joined(Struct, frozen=True):
    """A drug of a joint card."""

    medication: Medication
    matches: tuple[Match, ...]
    #: It is told in this call, not only part of what moves the level.
    told: bool


class Joint(Struct, frozen=True):
    """All that moves the level at the same time."""

    drugs: dict[str, Joined]
    #: Smoking was stopped, or begun, lately.
    smoking: SmokingChange | None = None
    #: Inhibitors and inducers that have stopped, or stop with this call.
    left: tuple[Left, ...] = ()


def joint_with(case: Case, best: Told) -> Joint | None:
    """What moves the level together, where one of the drugs is told in this call; None when nothing goes with it."""
    told = {
        m.drug_id: Joined(medication, tuple(found), True)
        for medication, found in best.values()
        for m in found
        if _is_mover(m) and SEVERITY_RANK[m.severity] >= _WARNING
    }
    if not told:
        return None
    joined = dict(told)
    for medication in case.other_medications:
        if not medication.systemic:
            continue
        for drug_id in medication.drugs:
            if drug_id in joined or not any(moves_level(c) for c in alerting_classes_of(drug_id)):
                continue
            found = matches(case, drug_id, medication)
            if any(map(_is_mover, found)):
                joined[drug_id] = Joined(medication, tuple(found), False)
    smoking = smoking_here(case)
    if smoking is not None and not smoking.stopped and _is_cut(told):
        smoking = None  # it takes nothing from the third of the dose, and has a card of its own
    left = tuple([one for one in left_drugs(case) if still_moves(case, one)]) if case.continuing else ()
    products = {j.medication.drugs for j in joined.values()}
    if len(products) + len(left) + (smoking is not None) < 2:
        return None
    return Joint(joined, smoking, left)


def _is_cut(told: Mapping[str, Joined]) -> bool:
    """A third of the dose is asked for."""
    return any(m.standing == "new" for j in told.values() for m in j.matches)


def _is_mover(match: Match) -> bool:
    """The class moves the level enough to be warned of when it is new."""
    group = match.group
    return moves_level(group) and SEVERITY_RANK[base_severity(group, match.drug_id)] >= _WARNING


def smoking_here(case: Case) -> SmokingChange | None:
    """The change of smoking, where it counts for the level."""
    if not case.continuing or (case.stop_drafts and not case.clozapine_drafts):
        return None
    return smoking_change(case)


def smoking_is_severe(case: Case) -> bool:
    """A stop of smoking is critical: by the dose or the level before it."""
    rule, dose, level = case.policy.interactions, case.current_mg_per_day, case.newest("clozapine-level")
    return (dose is not None and dose >= rule.smoking_critical_dose.value) or (
        level is not None and reaches(level, rule.smoking_critical_level.value)
    )


def smoking_severity(case: Case, change: SmokingChange) -> Severity:
    """How severe a change of smoking is by itself."""
    if not change.stopped:
        return "warning"
    if is_lowered_for_smoking(case, change):
        return "info"
    return "critical" if smoking_is_severe(case) else "warning"


def is_lowered_for_smoking(case: Case, change: SmokingChange) -> bool:
    """The dose is lowered for a stop of smoking already: to the share of the policy, by orders since the last answer of a smoker, or by the draft."""
    at = change.before.at if not change.admission else None
    before = case.mg_per_day_before(at) if at is not None else case.established_mg_per_day
    now, factor = case.current_mg_per_day, case.policy.dosing.smoking_stop_factor.value
    return before is not None and now is not None and now <= before * factor * ROUNDED


def share_of_dose(case: Case) -> Sentence:
    """The share of the dose to consider after a stop of smoking, in mg where the dose is known."""
    factor, dose, step = (
        case.policy.dosing.smoking_stop_factor.value,
        case.established_mg_per_day or case.current_mg_per_day,
        case.policy.dosing.dose_step.value,
    )
    share = Number(factor * 100)
    if not dose or dose * factor < step:
        return sentence("smoking.share", share=share)
    return sentence(
        "smoking.share-of", share=share, base=Dose(dose), target=Dose(dose * factor // step * step)
    )


def joint(case: Case, shared: Joint) -> Found:
    """The card of several drugs that move the level: one dose to give, one level to take."""
    of_drugs, change = shared.drugs, shared.smoking
    movers = [next(m for m in j.matches if _is_mover(m)) for j in of_drugs.values()]
    told = sorted((m for j in of_drugs.values() if j.told for m in j.matches), key=_gravest_mover)
    lead = told[0].group
    severity: Severity = told[0].severity
    if change is not None:
        severity = worst(severity, smoking_severity(case, change))
    order = sorted(of_drugs, key=lambda d: (not of_drugs[d].told, d))
    perhaps = case.perhaps_taken
    ordered = case.clozapine_drafts or (() if case.on_clozapine else case.clozapine_in_session)
    named = drugs_first(tuple(order))
    summary, steps, offers = _dose(case, named, movers, shared)
    removable = next(
        (j.medication for j in of_drugs.values() if j.told and j.medication.role == "draft"), None
    )
    if not offers and removable is not None and removable.ref and case.hook in ("order-select", "order-sign"):
        offers = (RemoveDraft(removable.ref, w.plain(removable.label)),)
    why: list[Sentence] = []
    seen: set[str] = set()
    for drug_id in order:
        record = of_drugs[drug_id].medication
        if record.ref not in seen or not record.ref:
            why.append(together(case, record, ordered=bool(ordered), perhaps=perhaps and not ordered))
            seen.add(record.ref)
    for left in shared.left:
        why += [*ended(case, left), *doses_beside(case, left)]
    if change is not None:
        why.append(smoking_line(change))
    why += [
        quoted("interaction", f"{g}.mechanism", text)
        for g, text in {m.group.id: m.group.mechanism for m in movers}.items()
    ]
    why += [time_line(m) for m in movers]
    why += [time_line_of(left.longest, left.groups[left.longest]) for left in shared.left]
    why += [quoted("drug", f"{d}.note", drugs()[d].note) for d in order if drugs()[d].note]
    rest = {m.group.id: m for j in of_drugs.values() if j.told for m in j.matches if not _is_mover(m)}
    why += [
        sentence(f"interaction.also-{m.severity}", title=title(m.group), headline=headline(m))
        for m in rest.values()
    ]
    why += doubts(case, told[0])
    tests = dict.fromkeys(t for m in (*movers, *rest.values()) for t in m.group.orders)
    wishes: list[Offer | Wish] = list(offers)
    for test_id in tests:
        wishes += offer_test(
            case, test_id, "routine", sentence("interaction.reason", drug=drugs_first(tuple(order)))
        )
    also = [m.group.finding for m in (*told, *movers) if m.group.finding != lead.finding]
    also += [group.stopped for left in shared.left for group in left.groups.values()]
    if change is not None:
        also.append(smoking_code(change))
    return Found(
        code=lead.finding,
        severity=("warning" if severity == "critical" else severity) if perhaps and not ordered else severity,
        subject=f"drug:{'+'.join(sorted(of_drugs))}",
        summary=summary,
        why=tuple(why),
        policy_says=(
            *_says(case, movers),
            *_says_of_stops(movers, shared.left),
            *((sentence("smoking.policy"),) if change is not None else ()),
        ),
        suggested=tuple(steps),
        evidence=(
            *(started(j.medication) for j in of_drugs.values()),
            *(started(left.medication) for left in shared.left),
            *(started(m) for m in (ordered or case.current_clozapine)[:2]),
        ),
        citation=cite(case, told[0]),
        offers=tuple(wishes),
        changes_order=True,
        also=tuple(dict.fromkeys(also)),
    )


def _says(case: Case, movers: list[Match]) -> tuple[Sentence, ...]:
    return tuple(says_of(case, m) for m in {m.group.id: m for m in movers}.values())


def _says_of_stops(movers: list[Match], left: tuple[Left, ...]) -> tuple[Sentence, ...]:
    """What is said of the stops; not where another drug of the class takes over, for then the dose does not go back."""
    groups = {group.id: group for group in (one.groups[one.longest] for one in left)}
    taking_over = {m.group.id for m in movers}
    return tuple(says_of_stop(group) for id, group in groups.items() if id not in taking_over)


def _gravest_mover(match: Match) -> tuple[int, bool, tuple[int, bool, int]]:
    """For sorting: the most severe, of equally severe ones what moves the level."""
    return -SEVERITY_RANK[match.severity], not moves_level(match.group), match.rank


def smoking_code(change: SmokingChange) -> str:
    """The finding that tells of the change of smoking."""
    return "smoking-stopped" if change.stopped else "smoking-started"


def smoking_line(change: SmokingChange) -> Sentence:
    answer = Record(change.changed.raw)
    if change.admission:
        return sentence("smoking.admission", day=Day(change.day), answer=answer)
    return sentence("smoking.changed", answer=answer, day=Day(change.day), before=Record(change.before.raw))


def _dose(
    case: Case, named: Param, movers: list[Match], shared: Joint
) -> tuple[Sentence, list[Sentence], tuple[Offer, ...]]:
    """What to do with the dose: summary, steps, and the one offer."""
    change, left = shared.smoking, shared.left
    effects = {m.group.effect for m in movers} | {one.effect for one in left}
    if change is not None:
        effects.add("raises" if change.stopped else "lowers")
    strong = [m for m in movers if m.group.reduce_to_one_third]
    now = case.current_mg_per_day
    days = _days(case, movers, shared)
    levels = [sentence("interaction.level-after", days=days[0])]
    if len(days) > 1:
        levels.append(sentence("interaction.level-again", days=days[-1]))
    watch, choose = sentence("interaction.watch"), sentence("interaction.choose-another")
    by_level = sentence("interaction.by-level-both", low=level_low(case), high=level_high(case))
    gone = drugs_within([d for one in left for d in one.drug_ids]) if left else None
    new = [m for m in strong if m.standing == "new"]
    takes_over = [m for m in strong if m.standing == "takes-over"]
    if strong and case.starting:
        asked, changes = start_small(case)
        summary = sentence(
            "interaction.joint-start", drugs=named, dose=Dose(case.policy.dosing.restart_single.value)
        )
        return summary, [choose, *asked, watch, sentence("interaction.level-when-one-stops")], changes
    lowers_only_by_leaving = not any(m.group.effect == "lowers" for m in movers)
    if strong and lowers_only_by_leaving and len(new) == len(strong):
        first = min(strong, key=lambda m: taken_since(case, m.drug_id) or case.as_of)
        third = third_of(case, first.drug_id, _before_left(case, left))
        if third is not None:
            base, target = Dose(third.base), Dose(third.target)
            steps = [choose, sentence("interaction.one-third", base=base, third=target)]
            if not third.tablet_gives and third.tablet_mg is not None:
                steps.append(sentence("interaction.other-tablet", tablet=Dose(third.tablet_mg), third=target))
            if change is not None:
                summary = sentence(
                    "interaction.joint-third-smoking",
                    drugs=named,
                    day=Day(change.day),
                    base=base,
                    third=target,
                )
            elif gone is not None:
                summary = sentence(
                    "interaction.joint-third-left", drugs=named, left=gone, base=base, third=target
                )
            else:
                summary = sentence("interaction.joint-third", drugs=named, base=base, third=target)
            back = (
                # The dose before stood beside an inducer that is gone by then.
                sentence("interaction.not-back-inducer-gone", dose=base)
                if any(one.effect == "raises" for one in left)
                else sentence("interaction.not-back-smoking", dose=base)
                if change is not None
                else sentence("interaction.return-when-all-stop", dose=base)
            )
            return summary, [*steps, *levels, watch, back], change_to(case, third)
    one_stops = sentence("interaction.level-when-one-stops")
    if takes_over and gone is not None and len(effects) > 1:
        summary = (
            sentence("interaction.joint-takes-over", drugs=named, left=gone, dose=Dose(now), days=days[0])
            if now
            else sentence("interaction.joint-both-ways-no-dose", drugs=named, days=days[0])
        )
        before, successor = _before_left(case, left), takes_over[0]
        back = (
            sentence("interaction.return-to", dose=Dose(before))
            if before is not None
            else sentence(
                "interaction.when-it-stops-falls",
                days=Counted(offset_days(successor.drug_id, successor.group.id)),
            )
        )
        return (
            summary,
            [choose, sentence("interaction.no-second-third"), *levels, by_level, watch, back],
            (),
        )
    if len(effects) > 1:
        steps = [choose, sentence("interaction.no-change-blind"), *levels, by_level]
        before = _before_left(case, left)
        if before is not None and now is not None and before > now:
            steps.append(sentence("interaction.towards", dose=Dose(before)))
        steps.append(one_stops)
        if not now:
            return sentence("interaction.joint-both-ways-no-dose", drugs=named, days=days[0]), steps, ()
        summary = (
            sentence(
                f"interaction.joint-opposed-{smoking_code(change)}",
                drugs=named,
                day=Day(change.day),
                dose=Dose(now),
                days=days[0],
            )
            if gone is None and change is not None
            else sentence("interaction.joint-both-ways", drugs=named, dose=Dose(now), days=days[0])
            if gone is None
            else sentence(
                "interaction.joint-both-ways-left", drugs=named, left=gone, dose=Dose(now), days=days[0]
            )
        )
        return summary, steps, ()
    if effects == {"lowers"}:
        summary = (
            sentence(
                "interaction.joint-lower-smoking-started", drugs=named, day=Day(change.day), days=days[0]
            )
            if change is not None
            else sentence("interaction.joint-lower", drugs=named, days=days[0])
            if gone is None
            else sentence("interaction.joint-lower-left", drugs=named, left=gone, days=days[0])
        )
        return summary, [choose, *levels, by_level, one_stops], ()
    steps = [choose]
    if strong and len(new) < len(strong):
        steps.append(sentence("interaction.no-second-third"))
    elif change is not None:
        steps.append(
            sentence("smoking.no-second-cut") if is_lowered_for_smoking(case, change) else share_of_dose(case)
        )
    steps += [*levels, by_level, watch, one_stops]
    if change is not None:
        return (
            sentence("interaction.joint-smoking", drugs=named, day=Day(change.day), days=days[0]),
            steps,
            (),
        )
    if gone is not None:
        return sentence("interaction.joint-raise-left", drugs=named, left=gone, days=days[0]), steps, ()
    summary = (
        sentence("interaction.joint-raise", drugs=named, dose=Dose(now), days=days[0])
        if now
        else sentence("interaction.joint-raise-no-dose", drugs=named, days=days[0])
    )
    return summary, steps, ()


def _days(case: Case, movers: list[Match], shared: Joint) -> list[Counted]:
    """When to take a level: when the first of them has its full effect, and when the last one has."""
    days = {onset_days(m.drug_id, m.group.id) for m in movers} | {one.offset_days for one in shared.left}
    days.add(first_level_days(case, min(days)))
    if shared.left or shared.smoking is not None:
        days.add(min(*days, int(case.policy.interactions.level_after_days.value)))
    return [Counted(d) for d in sorted({min(days), max(days)})]


def _before_left(case: Case, left: tuple[Left, ...]) -> float | None:
    """The dose before a strong inhibitor that leaves: of it, not of a dose that was lowered for it, is a third meant."""
    doses = [
        before
        for one in left
        for drug_id, group in one.groups.items()
        if group.reduce_to_one_third and (before := dose_before_stopped(case, drug_id)) is not None
    ]
    return max(doses, default=None)


def as_one(case: Case, found: list[Found]) -> Iterator[Found]:
    """At a visit: what is only known of several drugs on one card, the rest as it is."""
    known = [f for f in found if f.severity == "info" and f.subject.startswith("drug:")]
    if len(known) < _KNOWN_TOGETHER:
        yield from found
        return
    yield from (f for f in found if f not in known)
    known.sort(key=lambda f: f.subject)
    drug_ids = [d for f in known for d in f.subject.removeprefix("drug:").split("+")]
    drug_ids = list(dict.fromkeys(drug_ids))
    yield Found(
        code="interactions-known",
        severity="info",
        subject="drugs",
        summary=sentence(
            "interactions-known.summary",
            drugs=Listed((drug(drug_ids[0], first=True), *map(drug, drug_ids[1:]))),
        ),
        why=tuple(f.summary for f in known),
        policy_says=(sentence("interactions-known.policy"),),
        suggested=(sentence("interactions-known.ask"), sentence("interactions-known.change")),
        evidence=tuple(e for f in known for e in f.evidence[:1]),
        decisive=tuple(sorted(drug_ids)),
        citation=case.policy.citation,
        also=tuple(dict.fromkeys(f.code for f in known)),
    )
