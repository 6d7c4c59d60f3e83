"""One card for several drugs that move the clozapine level together."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.knowledge.drugs import drugs
from service.alerts.phrases.result import offer_test
from service.alerts.rules.interaction_matches import Match, moves_level
from service.alerts.rules.interaction_words import (
    cite,
    doses_beside,
    doubts,
    drugs_first,
    ended,
    headline,
    says_of,
    says_of_stop,
    started,
    time_line,
    time_line_of,
    title,
    together,
)
from service.alerts.rules.joint_dose import dose_of_joint
from service.alerts.rules.left_drugs import Left
from service.alerts.rules.level_movers import Joint, is_mover
from service.alerts.rules.smoking_change import (
    smoking_code,
    smoking_line,
    smoking_severity,
)
from service.alerts.say import wording as w
from service.alerts.say.finding import SEVERITY_RANK, Offer, RemoveDraft, Severity, worst
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import (
    Sentence,
    quoted,
    sentence,
)


def joint(case: Case, shared: Joint) -> Found:
    """The card of several drugs that move the level: one dose to give, one level to take."""
    of_drugs, change = shared.drugs, shared.smoking
    movers = [next(m for m in j.matches if is_mover(m)) for j in of_drugs.values()]
    told = sorted((m for j in of_drugs.values() if j.told for m in j.matches), key=_gravest_mover)
    lead = told[0].group
    severity: Severity = told[0].severity
    if change is not None:
        severity = worst(severity, smoking_severity(case, change))
    order = sorted(of_drugs, key=lambda d: (not of_drugs[d].told, d))
    perhaps = case.perhaps_taken
    ordered = case.clozapine_drafts or (() if case.on_clozapine else case.clozapine_in_session)
    named = drugs_first(tuple(order))
    summary, steps, offers = dose_of_joint(case, named, movers, shared)
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
    rest = {m.group.id: m for j in of_drugs.values() if j.told for m in j.matches if not is_mover(m)}
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
