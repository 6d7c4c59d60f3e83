"""Interactions with clozapine (clinical.md 2.4), in both directions; the stop of an inhibitor or inducer is in ``stopped_drugs``."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from service.alerts.case.beside import base_severity
from service.alerts.case.case import Case
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import alerting_classes_of, onset_days
from service.alerts.knowledge.drugs import drugs
from service.alerts.phrases.count import ending_lines
from service.alerts.phrases.result import offer_test, result_fact
from service.alerts.rules.interaction_matches import (
    Match,
    has_long_qtc,
    moves_level,
    rank,
    slow_bowel,
)
from service.alerts.rules.interaction_words import (
    cite,
    doubts,
    drug,
    drugs_first,
    drugs_within,
    headline,
    level_after,
    says_of,
    started,
    steps_of,
    time_line,
    title,
    together,
)
from service.alerts.rules.joint_interactions import joint
from service.alerts.rules.known_interactions import as_one
from service.alerts.rules.level_movers import Joint, joint_with
from service.alerts.rules.level_steps import level_steps
from service.alerts.rules.strong_inhibitor import of_strong_inhibitor
from service.alerts.rules.told_interactions import bears_on_order, told_here
from service.alerts.say import wording as w
from service.alerts.say.finding import Offer, RemoveDraft, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Record, Sentence, Term, quoted, sentence

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
    qtc = case.newest("qtc") if any(m.group.effect == "qt" for m in found) else None
    if qtc is not None and has_long_qtc(case):
        why.append(result_fact(case, qtc))
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
        summary, steps, changes = of_strong_inhibitor(case, leading, named, steps)
        offers += changes
    elif moves_level(lead):
        steps += level_steps(case, leading)
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
            said, asked, changes = of_strong_inhibitor(case, m, drugs_first((m.drug_id,)), [])
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
        changes_order=any(bears_on_order(case, m, found) for m in medications),
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
