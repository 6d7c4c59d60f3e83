"""Causes of a poor response, and what the record shows of each (clinical.md 2.8): the checklist of the policy, matched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.coverage import coverage
from service.alerts.facts.patient import CLOZAPINE, Medication
from service.alerts.knowledge.classes import has_class
from service.alerts.knowledge.drugs import names_of
from service.alerts.phrases.medication import medication_evidence
from service.alerts.phrases.problem import problem_evidence, problem_line
from service.alerts.phrases.result import result_evidence, result_line
from service.alerts.say.found import Fact
from service.alerts.say.sentence import Number, Record, Sentence, recorded, sentence

#: What the record shows of a cause: (fact, evidence).
Seen = tuple[Sentence, tuple[Fact, ...]]

#: Of these what is over counts, too.
_LASTING = frozenset({"head-injury"})


def seen_causes(case: Case) -> tuple[tuple[Seen, ...], ...]:
    """For each item of the policy's checklist what the record shows of it; empty where it shows nothing."""
    return tuple(
        (
            *_problems(case, item.kinds),
            *(seen for sign in item.signs for seen in SIGNS[sign](case)),
        )
        for item in case.policy.pathway.checklist
    )


def _problems(case: Case, kinds: tuple[str, ...]) -> Iterator[Seen]:
    found = {p.ref: p for kind in kinds for p in case.problems_of(kind, history=kind in _LASTING)}
    for p in found.values():
        yield problem_line(case, p), problem_evidence([p])


def _smoking(case: Case) -> Iterator[Seen]:
    smoking = case.coded("smoking")
    if smoking and smoking[0].value == "current":
        raw = smoking[0].raw
        yield (
            sentence("pseudo-resistance-checklist.smokes", answer=Record(raw)),
            (Fact(smoking[0].ref, recorded(raw), smoking[0].at),),
        )


def _inducers(case: Case) -> Iterator[Seen]:
    for class_id in ("strong-inducer", "inducer"):
        for m in case.taken_now(class_id):
            yield (
                sentence("pseudo-resistance-checklist.inducer", drug=Record(m.label)),
                medication_evidence([m]),
            )


def _supply(case: Case) -> Iterator[Seen]:
    supply = coverage(case)
    if supply is None or supply.percent >= case.policy.pathway.adherence_percent.value:
        return
    yield (
        sentence(
            "pseudo-resistance-checklist.supply",
            percent=Number(supply.percent, 0),
            days=Number(case.policy.supply.adherence_days.value, 0),
        ),
        tuple(
            Fact(m.ref, sentence("pseudo-resistance-checklist.dispense"), m.start, m.start_date_only)
            for m in supply.dispensed[-3:]
        ),
    )


def _level(case: Case) -> Iterator[Seen]:
    level = case.newest("clozapine-level")
    if level is not None and level.bound != ">" and level.value < case.policy.levels.adequate.value:
        yield (
            sentence("pseudo-resistance-checklist.low-level", line=result_line(case, level)),
            result_evidence(case, [level]),
        )


def _brand(case: Case) -> Iterator[Seen]:
    """Dispenses of the last months under two names."""
    since = case.as_of - timedelta(days=case.policy.supply.adherence_days.value)
    named: dict[str, Medication] = {}
    for m in sorted(case.clozapine_records, key=lambda m: m.start or case.as_of):
        if m.role == "dispense" and m.start is not None and since <= m.start <= case.as_of:
            named[_named(m.label)] = m
    if len(named) > 1:
        former, present = list(named.values())[-2:]
        yield (
            sentence(
                "pseudo-resistance-checklist.brand",
                former=Record(former.label),
                present=Record(present.label),
            ),
            medication_evidence((former, present)),
        )


def _named(label: str) -> str:
    """The brand that a product's name tells, else the drug itself."""
    folded = label.lower()
    return next((n.lower() for n in names_of(CLOZAPINE)[1:] if n.lower() in folded), CLOZAPINE)


def _antipsychotics(case: Case) -> Iterator[Seen]:
    together = _ordered(case, "antipsychotic")
    if len({d for m in together for d in m.drugs if has_class(d, "antipsychotic")}) + case.on_clozapine > 1:
        yield from _drugs(together, "together")


def _sedatives(case: Case) -> Iterator[Seen]:
    yield from _drugs([m for m in _ordered(case, "cns-depressant") if not _is_antipsychotic(m)], "sedative")


def _anticholinergics(case: Case) -> Iterator[Seen]:
    yield from _drugs(
        [m for m in _ordered(case, "anticholinergic") if not _is_antipsychotic(m)], "anticholinergic"
    )


def _is_antipsychotic(m: Medication) -> bool:
    return any(has_class(d, "antipsychotic") for d in m.drugs)


def _ordered(case: Case, class_id: str) -> list[Medication]:
    return [m for m in case.taken_now(class_id) if m.role in ("order", "statement")]


def _drugs(found: list[Medication], word: str) -> Iterator[Seen]:
    for m in found:
        yield (
            sentence(f"pseudo-resistance-checklist.drug-{word}", drug=Record(m.label)),
            medication_evidence([m]),
        )


#: What ``signs`` of the policy's checklist may name.
SIGNS: dict[str, Callable[[Case], Iterator[Seen]]] = {
    "supply": _supply,
    "level": _level,
    "smoking": _smoking,
    "inducer": _inducers,
    "brand": _brand,
    "antipsychotics": _antipsychotics,
    "sedatives": _sedatives,
    "anticholinergics": _anticholinergics,
}
