"""Missing is not normal (clinical.md 3.6): what could not be read is said, never taken for fine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.alerts.case.beside import warned_of
from service.alerts.case.case import Case
from service.alerts.case.lost import NEEDED, Lost, all_read, lost, low_count, warned
from service.alerts.facts.patient import Measurement, Medication, ReadProblem, SourceName
from service.alerts.facts.reason import Reason
from service.alerts.phrases.count import count_evidence, count_fact, short_count
from service.alerts.phrases.medication import drug_fact
from service.alerts.say.cited import own
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Listed,
    Number,
    Param,
    Record,
    Sentence,
    Term,
    Why,
    explained,
    quoting,
    sentence,
)

#: Parts of the record that fit into one summary.
_AT_MOST_NAMED = 2
#: What a clinician calls the parts of a call, and a part of one of them.
_WHERE = {
    "draftOrders": ("part.draft-orders", "order"),
    "counts": ("part.counts", "counts-part"),
    "medications": ("part.medications", "medication-orders-part"),
    "statements": ("part.statements", "statements-part"),
    "dispenses": ("part.dispenses", "dispenses-part"),
    "administrations": ("part.administrations", "administrations-part"),
    "labs": ("part.labs", "labs-part"),
    "vitals": ("part.vitals", "vitals-part"),
    "conditions": ("part.conditions", "conditions-part"),
    "allergies": ("part.allergies", "allergies-part"),
    "smoking": ("part.smoking", "smoking-part"),
    "patient": ("part.patient", "patient-part"),
}
#: Lines of causes on one card; what does not fit is counted.
_MOST_CAUSES = 5
#: Records that one line of a cause names.
_MOST_REFS = 3


def data_unavailable(case: Case) -> Iterator[Found]:
    """A source the answer needs could not be read, wholly or in part, or nobody can tell which drug a record is of."""
    snapshot = case.snapshot
    if not snapshot.read_problems and all_read(case) and not any(m.unread for m in snapshot.medications):
        return
    unread = lost(case)
    if unread.sources or unread.problems or unread.helpful:
        yield _found(case, unread)


def _found(case: Case, unread: Lost) -> Found:
    sources = [_key(case, source) for source in (*unread.sources, *unread.helpful)]
    named = tuple(Sentence(f"source.{key}") for key in sources)
    needed = bool(unread.sources or unread.problems)
    # Why it matters is part of what is seen: whoever overrides it for one order or count has not done so for the next.
    orders = case.clozapine_drafts if case.relevant else warned(case)
    low = None if case.relevant else low_count(case)
    summary, shorter = _summary(case, unread, orders, low, needed=needed)
    return Found(
        code="data-unavailable",
        severity="warning" if needed else "info",
        changes_order=True,
        subject="data",
        summary=summary,
        shorter=shorter,
        # One line: the list of them stands under “What could not be checked”.
        why=(
            *((count_fact(case, low),) if low is not None else ()),
            *(() if case.relevant else (_interacting_line(d) for d in orders)),
            *((sentence("data-unavailable.not-read", what=Listed(named)),) if named else ()),
            *(() if case.relevant else (_not_known(case),)),
            *_causes(case, unread),
        ),
        policy_says=(sentence("data-unavailable.policy"),),
        suggested=_steps(case, unread, low),
        unchecked=named,
        evidence=(
            *(count_evidence(case, low) if low is not None else ()),
            *(drug_fact(d) for d in orders if d.ref),
            *(Fact(p.ref, explained(p.reason)) for p in unread.problems[:8] if p.ref),
        ),
        missing=named or (sentence("data-unavailable.missing-records"),),
        citation=own("unchecked"),
    )


def _summary(
    case: Case, unread: Lost, orders: tuple[Medication, ...], low: Measurement | None, *, needed: bool
) -> tuple[Sentence, Sentence | None]:
    """What was not read, and first why that matters in somebody of whom nobody knows whether clozapine is taken; and the same shorter."""
    keys = _named(case, unread)
    what = Listed(tuple(Sentence(f"source-short.{key}") for key in keys))
    if not needed:
        return sentence("data-unavailable.not-checked", what=what), None
    why: dict[str, Param]
    if low is not None:
        why, id = {"count": short_count(case, low)}, "data-unavailable.low-count"
    elif orders and not case.relevant:
        names = list(dict.fromkeys(drug_id for d in orders for drug_id, _ in warned_of(d)[:1]))
        why = {"drug": Term("drug", names[0], names[0].replace("-", " "), first=True)}
        id = "data-unavailable.interacting"
        if len(names) > 1:
            why["n"], id = Number(len(names) - 1, 0), "data-unavailable.interacting-several"
    else:
        return sentence("data-unavailable.incomplete", what=what), None
    first = (Sentence(f"source-first.{keys[0]}"), *what.items[1:]) if keys else ()
    return Sentence(id, {**why, "what": Listed(first)}), Sentence(f"{id}-short", why)


def _interacting_line(order: Medication) -> Sentence:
    _, group = warned_of(order)[0]
    effect = Term("interaction", f"{group.id}.headline", group.headline)
    return sentence("data-unavailable.ordered", drug=Record(order.label), effect=effect)


def _steps(case: Case, unread: Lost, low: Measurement | None) -> tuple[Sentence, ...]:
    careful = sentence("data-unavailable.no-safety")
    if case.relevant:
        return (sentence("data-unavailable.look-up-data"), careful)
    steps = [sentence("data-unavailable.look-up-clozapine")]
    if any(p.source == "draftOrders" for p in unread.problems):
        steps.insert(0, sentence("data-unavailable.look-up-order"))
    if low is not None and case.decided is not None and case.decided[0].treatment != "continue":
        steps.append(sentence("data-unavailable.stop-if-taken"))
    return (*steps, sentence("data-unavailable.not-taken"), careful)


def _key(case: Case, source: SourceName) -> str:
    """How the catalogue names a source that was not read; one that the answer rests on and that was read in part has a name of its own."""
    return f"{source}-part" if source in NEEDED and case.snapshot.state(source) == "incomplete" else source


def _not_known(case: Case) -> Sentence:
    """What is known of clozapine in a patient whose record shows no treatment."""
    if case.snapshot.registered:
        return sentence("data-unavailable.registered")
    return sentence("data-unavailable.not-known")


def _named(case: Case, unread: Lost) -> list[str]:
    """What the summary names: sources, an order of this call, parts of the record; of many parts, that there are many."""
    names = [_key(case, source) for source in unread.sources]
    if any(p.source == "draftOrders" for p in unread.problems):
        names.insert(0, "order")
    elif unread.problems and not names:
        names = _parts(unread.problems)
    return names or [_key(case, source) for source in unread.helpful]


def _parts(unread: Iterable[ReadProblem]) -> list[str]:
    """Which parts of the record lost something; of many, that there are many."""
    wheres = list(dict.fromkeys(_WHERE.get(p.source, ("", "record-part"))[1] for p in unread))
    return wheres if len(wheres) <= _AT_MOST_NAMED else ["some-records"]


def _causes(case: Case, unread: Lost) -> list[Sentence]:
    """Why things could not be read, each cause once: ``Blood counts (Observation/7) – left out: …``; at most so many lines."""
    sources = {*unread.sources, *unread.helpful}
    told = [
        p
        for p in case.snapshot.read_problems
        if p in unread.problems or (not p.if_not_known and (case.relevant or p.source in sources))
    ]
    causes: dict[tuple[str, Reason], dict[str, None]] = {}
    # What may be clozapine itself comes first: orders of this call, then records whose drug nobody knows.
    untold = [p for p in unread.problems if p not in told]
    for p in sorted((*untold, *told), key=lambda p: p.source != "draftOrders"):
        causes.setdefault((p.source, p.reason), {}).update(dict.fromkeys([p.ref] if p.ref else []))
    shown = list(causes.items())
    if len(shown) > _MOST_CAUSES:
        del shown[_MOST_CAUSES - 1 :]
    lines = [_cause(source, reason, list(refs)) for (source, reason), refs in shown]
    if len(causes) > len(shown):
        lines.append(sentence("data-unavailable.other-causes", n=Number(len(causes) - len(shown), 0)))
    return lines


def _cause(source: str, reason: Reason, refs: list[str]) -> Sentence:
    said: dict[str, Param] = {
        "source": Sentence(_WHERE[source][0]) if source in _WHERE else quoting(source),
        "reason": Why(reason),
    }
    if not refs:
        return Sentence("data-unavailable.cause", said)
    said["refs"] = Listed(tuple(quoting(ref) for ref in refs[:_MOST_REFS]), last="")
    if len(refs) <= _MOST_REFS:
        return Sentence("data-unavailable.cause-of", said)
    said["n"] = Number(len(refs) - _MOST_REFS, 0)
    return Sentence("data-unavailable.cause-of-several", said)


RULES = (data_unavailable,)
