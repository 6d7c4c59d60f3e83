"""Interactions with clozapine (clinical.md 2.4), in both directions; the stop of an inhibitor or inducer is in ``stopped_drugs``."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from service.alerts.case.beside import base_severity
from service.alerts.case.case import Case
from service.alerts.case.together import clozapine_dose_before, taken_since
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import alerting_classes_of, offset_days, onset_days
from service.alerts.knowledge.drugs import drugs
from service.alerts.phrases.count import ending_lines
from service.alerts.phrases.result import offer_test
from service.alerts.rules.interaction_matches import (
    Match,
    both_since,
    is_kept_for_emergency,
    matches,
    moves_level,
    rank,
    slow_bowel,
)
from service.alerts.rules.interaction_words import (
    change_to,
    cite,
    doubts,
    drug,
    drugs_first,
    drugs_within,
    headline,
    level_after,
    level_high,
    level_low,
    says_of,
    start_small,
    started,
    steps_of,
    third_of,
    time_line,
    title,
    together,
)
from service.alerts.rules.joint_interactions import Joint, as_one, joint, joint_with
from service.alerts.say import wording as w
from service.alerts.say.finding import SEVERITY_RANK, Offer, RemoveDraft, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Counted, Dose, Param, Record, Sentence, Term, quoted, sentence

#: The most severe that a combination is that perhaps is none any more.
_PERHAPS: dict[Severity, Severity] = {"info": "info", "warning": "warning", "critical": "warning"}


def interacting_drugs(case: Case) -> Iterator[Found]:
    """One finding per interacting drug, its leading class first; drugs that move the level share one, and so do those that are known at a visit."""
    best = told_here(case)
    if not best:
        return
    shared = joint_with(case, best)
    alone: list[_Product] = [
        ((medication,), of_drug)
        for drug_ids, (medication, of_drug) in best.items()
        if shared is None or shared.drugs.keys().isdisjoint(drug_ids)
    ]
    found = [_finding(case, medications, of_drugs) for medications, of_drugs in _met(alone)]
    if shared is not None:
        found.append(joint(case, shared))
    yield from found if case.is_order_hook else as_one(case, found)


def told_here(case: Case) -> dict[tuple[str, ...], tuple[Medication, list[Match]]]:
    """What is told in this call: drugs of one product -> its record and its classes, the leading one first."""
    perhaps = case.is_order_hook and case.perhaps_taken
    if not (case.clozapine_drafts or case.on_clozapine or case.clozapine_in_session or perhaps):
        return {}
    # An order of another drug raises only its own interactions: old combinations are for the visit, not for every order.
    pool = case.other_medications if case.clozapine_drafts or not case.is_order_hook else case.other_drafts
    if case.stopping:
        return {}  # clozapine ends with this call
    best: dict[tuple[str, ...], tuple[Medication, list[Match]]] = {}
    # A drug has many records, its history is one; beside which others a product holds it can matter.
    judged: dict[tuple[str, bool, bool, tuple[str, ...], bool], list[Match]] = {}
    for medication in pool:
        if not medication.systemic:
            continue
        found: list[Match] = []
        for drug_id in medication.drugs:
            groups = alerting_classes_of(drug_id)
            if not groups:
                continue
            kept = any(g.kept_for_emergency and is_kept_for_emergency(g, medication) for g in groups)
            key = (drug_id, medication.parenteral, medication.long_acting, medication.drugs, kept)
            if key not in judged:
                judged[key] = matches(case, drug_id, medication)
            found += judged[key]
        if not found:
            continue
        # A combination product is one order and gets one card, named after its interacting ingredients, however they are listed.
        drug_ids = tuple(sorted({m.drug_id for m in found}))
        found.sort(key=rank)
        known = best.get(drug_ids)
        if known is None or SEVERITY_RANK[found[0].severity] > SEVERITY_RANK[known[1][0].severity]:
            best[drug_ids] = (medication, found)
    return {
        drug_ids: (medication, found)
        for drug_ids, (medication, found) in best.items()
        # An old, quiet combination is for the visit, not for the order.
        if not (
            case.is_order_hook
            and found[0].severity == "info"
            and not _bears_on_order(case, medication, found)
        )
        and not (len(best) > 1 and _is_named_already(drug_ids, found, best))
    }


_Product = tuple[tuple[Medication, ...], list[Match]]


def _met(products: list[_Product]) -> list[_Product]:
    """Products that are warned of because of each other, as one: the pair is one matter."""
    found: list[_Product] = []
    for medications, matched in products:
        met = next((i for i, (_, others) in enumerate(found) if _meet(others[0], matched[0])), None)
        if met is None:
            found.append((medications, matched))
        else:
            found[met] = ((*found[met][0], *medications), sorted([*found[met][1], *matched], key=rank))
    return found


def _meet(one: Match, other: Match) -> bool:
    """Each is as severe as the other, by the same class, and adds to it."""
    return (
        one.group.id == other.group.id
        and one.severity == other.severity != "info"
        and other.drug_id in one.others
        and one.drug_id in other.others
    )


def _bears_on_order(case: Case, medication: Medication, found: list[Match]) -> bool:
    """The combination is made by an order of this call, and is worth a word there."""
    if not (medication.role == "draft" or case.starting):
        return False
    return case.starting or any(m.severity != "info" or not _for_visits(m) for m in found)


def _for_visits(match: Match) -> bool:
    own = drugs()[match.drug_id]
    if match.group.id in own.visits_only:
        return True
    return match.group.visits_only and match.group.id not in own.speaks_at_orders


def _is_named_already(
    drug_ids: tuple[str, ...],
    found: list[Match],
    best: dict[tuple[str, ...], tuple[Medication, list[Match]]],
) -> bool:
    """The card of a combination product names these drugs, too, and is as severe."""
    severity = SEVERITY_RANK[found[0].severity]
    return any(
        set(drug_ids) < set(others) and SEVERITY_RANK[of_others[0].severity] >= severity
        for others, (_, of_others) in best.items()
    )


def _finding(case: Case, medications: tuple[Medication, ...], found: list[Match]) -> Found:
    drug_ids = tuple(sorted({m.drug_id for m in found}))
    leading = replace(found[0], others=tuple(d for d in found[0].others if d not in drug_ids))
    lead, severity = leading.group, leading.severity
    others = list({m.group.id: m for m in found[1:] if m.group.finding != lead.finding}.values())
    named = drugs_first(drug_ids)
    ordered = case.clozapine_drafts or (() if case.on_clozapine else case.clozapine_in_session)
    perhaps = case.perhaps_taken and not ordered
    why = [
        *(together(case, m, ordered=bool(ordered), perhaps=perhaps) for m in medications),
        quoted("interaction", f"{lead.id}.mechanism", lead.mechanism),
    ]
    if moves_level(lead):
        why.append(time_line(leading))
    if leading.others:
        why.append(sentence("interaction.others", drugs=drugs_within(leading.others), title=title(lead)))
    why += [quoted("drug", f"{d}.note", drugs()[d].note) for d in drug_ids if drugs()[d].note]
    why += [
        sentence(f"interaction.also-{m.severity}", title=title(m.group), headline=headline(m)) for m in others
    ]
    if perhaps:
        # Whether it is taken at all is an estimate: worth a look, no alarm.
        severity = _PERHAPS[severity]
        why += ending_lines(case)
    bowel = next((problems for m in found if (problems := slow_bowel(case, m.group))), ())
    if bowel:
        laxatives = case.taken_now("laxative")
        problem = Record(bowel[0].label)
        why.append(
            sentence("interaction.slow-bowel-laxative", problem=problem, laxative=Record(laxatives[0].label))
            if laxatives
            else sentence("interaction.slow-bowel", problem=problem)
        )
    if any(m.matched_by == "name" for m in medications):
        why.append(sentence("interaction.by-name", drug=named))
    why += doubts(case, leading)
    offers: list[Offer | Wish] = []
    summary = _summary(drug_ids, leading, others)
    if bowel:
        problem = Record(bowel[0].label, short=40)
        summary = (
            sentence("interaction.summary-slow-bowel", drug=named, problem=problem)
            if lead.effect == "bowel"
            else sentence(
                "interaction.summary-slow-bowel-too", drug=named, problem=problem, headline=headline(leading)
            )
        )
    steps = steps_of(case, leading)
    if lead.reduce_to_one_third:
        summary, steps, changes = _of_strong_inhibitor(case, leading, named, steps)
        offers += changes
    elif moves_level(lead):
        steps += _level_steps(case, leading)
    if severity != "info" and case.hook in ("order-select", "order-sign"):
        offers += [RemoveDraft(m.ref, w.plain(m.label)) for m in medications if m.role == "draft" and m.ref]
    for test_id in dict.fromkeys(t for m in found for t in m.group.orders):
        offers += offer_test(case, test_id, "routine", sentence("interaction.reason", drug=named))
    known = set(lead.steps)
    steps += [
        step
        for m in others
        if m.group.steps[:1] and m.group.steps[0] not in known
        for step in steps_of(case, m)[:1]
    ]
    for m in others:
        if m.standing is not None:
            # A strong inhibitor that does not lead here says what it asks of the dose all the same.
            said, asked, changes = _of_strong_inhibitor(case, m, drugs_first((m.drug_id,)), [])
            why.append(said)
            steps += [step for step in asked if step not in steps]
            offers += changes
    if not moves_level(lead):
        # What moves the level beside what leads says when, too.
        for m in others:
            if moves_level(m.group) and m.standing is None:
                why.append(time_line(m))
                steps += level_after(case, onset_days(m.drug_id, m.group.id))
    if case.taken_now("laxative") and any(_bowel_kept_quiet(d, found) for d in drug_ids):
        steps.append(sentence("interaction.keep-laxative"))
    says = [says_of(case, leading), *(says_of(case, m) for m in others if m.of_region)]
    if leading.contraindicated:
        says.insert(0, sentence("interaction.says-contraindicated", drug=drug(leading.drug_id)))
        steps.insert(0, sentence("interaction.choose-another"))
    valproate = case.policy.interactions.valproate
    if valproate is not None and "valproate" in drug_ids:
        says.append(
            sentence(
                "interaction.policy-of-its-own",
                text=Term("policy", "interactions.valproate", valproate.value),
                source=Term("citation", "interactions.valproate", str(case.policy.cite(valproate))),
            )
        )
    return Found(
        code=lead.finding,
        severity=severity,
        subject=f"drug:{'+'.join(drug_ids)}",
        summary=summary,
        why=tuple(why),
        policy_says=tuple(says),
        suggested=tuple(steps),
        evidence=(
            *map(started, medications),
            *(
                started(m)
                for m in (ordered or case.current_clozapine or (case.clozapine_records if perhaps else ()))[
                    :2
                ]
            ),
        ),
        citation=cite(case, next((m for m in found if m.of_region and m.severity == severity), leading)),
        offers=tuple(offers),
        changes_order=any(_bears_on_order(case, m, found) for m in medications),
        also=tuple(dict.fromkeys(m.group.finding for m in others)),
    )


def _bowel_kept_quiet(drug_id: str, found: list[Match]) -> bool:
    """The drug slows the bowel as much as an opioid, and a laxative is why nothing is said of it."""
    told = {m.group.id for m in found}
    return any(
        c.unless_taking and c.id not in told and base_severity(c, drug_id) != "info"
        for c in alerting_classes_of(drug_id)
    )


def _summary(drug_ids: tuple[str, ...], leading: Match, others: list[Match]) -> Sentence:
    """What happens, and with what else it adds up."""
    named, what = drugs_first(drug_ids), headline(leading)
    lead = drugs()[leading.drug_id].lead
    if leading.others and (leading.severity == "critical" or leading.group.effect == "qt"):
        return sentence(
            "interaction.summary-others", drug=named, others=drugs_within(leading.others), headline=what
        )
    if leading.contraindicated:
        return sentence(
            "interaction.summary-contraindicated",
            drug=named,
            headline=what,
            drug_again=drug(leading.drug_id),
        )
    regional = next(
        (
            m.group
            for m in (leading, *others)
            if m.of_region and m.group.eu_briefly and m.severity == leading.severity
        ),
        None,
    )
    if regional is not None:
        return sentence(
            "interaction.summary-region",
            drug=named,
            headline=what,
            region=Term("interaction", f"{regional.id}.eu_briefly", regional.eu_briefly),
        )
    second = next((m for m in others if m.group.id in lead[1:] and m.severity == leading.severity), None)
    if second is not None:
        return sentence("interaction.summary-second", drug=named, headline=what, second=headline(second))
    return sentence("interaction.summary", drug=named, headline=what)


def _of_strong_inhibitor(
    case: Case, match: Match, named: Param, steps: list[Sentence]
) -> tuple[Sentence, list[Sentence], tuple[Offer, ...]]:
    """Summary, steps and offers by how the inhibitor and the dose stand to each other."""
    onset = Counted(onset_days(match.drug_id, match.group.id))
    level = sentence("interaction.level-after", days=onset)
    stops = time_of_stop(case, match)
    match match.standing:
        case "smallest":
            return (
                sentence("interaction.summary-smallest", drug=named, dose=_smallest(case)),
                [sentence("interaction.titrate-to-third"), sentence("interaction.level-each-change"), stops],
                (),
            )
        case "reduced":
            return (
                sentence("interaction.summary-reduced", drug=named),
                [sentence("interaction.check-level"), stops],
                (),
            )
        case "first":
            return (
                sentence("interaction.summary-first", drug=named),
                [
                    sentence("interaction.titrate-to-third")
                    if case.in_titration
                    else sentence("interaction.no-cut"),
                    sentence("interaction.level-each-change"),
                    stops,
                ],
                (),
            )
        case "settled":
            return (
                sentence("interaction.summary-settled", drug=named),
                [sentence("interaction.no-cut"), sentence("interaction.level-each-change"), stops],
                (),
            )
        case "changed" | "takes-over":
            return (
                sentence("interaction.summary-changed", drug=named, days=onset)
                if match.standing == "changed"
                else sentence("interaction.summary-takes-over", drug=named, days=onset),
                [
                    sentence("interaction.no-second-third"),
                    level,
                    sentence("interaction.by-level-both", low=level_low(case), high=level_high(case)),
                    stops,
                ],
                (),
            )
        case "level-needed":
            return (
                sentence("interaction.summary-level-needed", drug=named),
                [
                    sentence("interaction.level-now"),
                    sentence("interaction.by-level", high=level_high(case)),
                    stops,
                ],
                (),
            )
    if case.starting:
        asked, change = start_small(case)
        return (
            sentence("interaction.summary-start", drug=named, dose=_smallest(case)),
            [*steps, *asked, stops],
            change,
        )
    third = third_of(case, match.drug_id)
    watch = sentence("interaction.watch")
    if third is None:
        return (
            sentence("interaction.summary-aim-at-third", drug=named, headline=headline(match)),
            [*steps, level, watch, stops],
            (),
        )
    base, target = Dose(third.base), Dose(third.target)
    steps = [*steps, sentence("interaction.one-third", base=base, third=target)]
    if not third.tablet_gives and third.tablet_mg is not None:
        steps.append(sentence("interaction.other-tablet", tablet=Dose(third.tablet_mg), third=target))
    steps += [level, watch, sentence("interaction.return-to", dose=base)]
    return (
        sentence("interaction.summary-third", drug=named, base=base, third=target),
        steps,
        change_to(case, third),
    )


def _smallest(case: Case) -> Dose:
    return Dose(case.policy.dosing.restart_single.value)


def time_of_stop(case: Case, match: Match) -> Sentence:
    """What to do when an inhibitor stops."""
    offset = Counted(offset_days(match.drug_id, match.group.id))
    before = clozapine_dose_before(case, match.drug_id)
    now = case.current_mg_per_day
    if match.standing == "reduced" and before and now and before > now:
        return sentence("interaction.return-to", dose=Dose(before))
    return sentence("interaction.when-it-stops-falls", days=offset)


def _level_steps(case: Case, match: Match) -> list[Sentence]:
    """When to measure, what to do with the dose by the level, and what happens when the drug stops."""
    group, drug_id = match.group, match.drug_id
    falls = group.effect == "raises"
    return [
        *_when_to_measure(case, match),
        sentence("interaction.by-level", high=level_high(case))
        if falls
        else sentence("interaction.by-level-low", low=level_low(case)),
        sentence(
            "interaction.when-it-stops-falls" if falls else "interaction.when-it-stops-rises",
            days=Counted(offset_days(drug_id, group.id)),
        ),
    ]


def _when_to_measure(case: Case, match: Match) -> list[Sentence]:
    """A level when the effect is full; where it is so already, none by the day."""
    group, drug_id = match.group, match.drug_id
    onset = onset_days(drug_id, group.id)
    if case.starting and taken_since(case, drug_id) is not None:
        return [
            sentence("interaction.titrate-by-level-raises")
            if group.effect == "raises"
            else sentence("interaction.titrate-by-level-lowers")
        ]
    since = both_since(case, drug_id)
    if since is None or case.days_since(since) <= onset:
        return level_after(case, onset)
    level = case.newest("clozapine-level")
    if level is not None and level.at is not None and (level.at - since).days >= onset:
        return [sentence("interaction.level-each-change")]
    return [sentence("interaction.level-now")]


def told_with_smoking(case: Case) -> bool:
    """The stop of smoking is told on the card of an inhibitor."""
    shared = _shared(case)
    return shared is not None and shared.smoking is not None


def left_told_together(case: Case) -> frozenset[str]:
    """Drugs that have stopped and are told of on the card of another drug."""
    shared = _shared(case)
    return frozenset() if shared is None else frozenset(d for one in shared.left for d in one.groups)


def _shared(case: Case) -> Joint | None:
    best = told_here(case)
    return joint_with(case, best) if best else None


RULES = (interacting_drugs,)
