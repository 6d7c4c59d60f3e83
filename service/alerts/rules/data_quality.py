"""Missing is not normal (clinical.md 3.6): what could not be read or recognised is said, never taken for fine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.case.beside import warned_of
from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, span_of, waits
from service.alerts.facts.patient import CLOZAPINE, Measurement, Medication, ReadProblem, SourceName
from service.alerts.phrases.count import count_evidence, count_fact, count_line, short_count
from service.alerts.phrases.medication import drug_fact
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say.finding import Citation
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Listed,
    Number,
    Param,
    Record,
    Sentence,
    Term,
    quoting,
    recorded,
    sentence,
)

_THIS_SERVICE = Citation("This service", "what could not be checked")
#: Sources a clozapine answer rests on; what is not checked without them stands in ``[source]`` of the catalogue.
_NEEDED: tuple[SourceName, ...] = ("counts", "medications")
#: Sources that add checks; named on the card, but not worth a card of their own.
_HELPFUL: tuple[SourceName, ...] = (
    "statements",
    "dispenses",
    "administrations",
    "labs",
    "vitals",
    "conditions",
    "allergies",
    "smoking",
    "patient",
)

#: Where records of a role come from.
_SOURCE_OF = {
    "order": "medications",
    "statement": "statements",
    "dispense": "dispenses",
    "administration": "administrations",
}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
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


_SOURCES = {*_NEEDED, *_HELPFUL}
_COMPLETE = {"complete"}
#: Sources any of which may be the only one to show that clozapine is taken.
_EVIDENCE: tuple[SourceName, ...] = ("medications", "statements", "dispenses", "administrations")
#: Problems for which clozapine is given.
_GIVEN_FOR = ("schizophrenia",)
#: Lines of causes on one card; what does not fit is counted.
_MOST_CAUSES = 5
#: Records that one line of a cause names.
_MOST_REFS = 3


class _Lost(Struct, frozen=True):
    """What was not read and may matter for this question."""

    #: Sources that the answer rests on.
    sources: tuple[SourceName, ...] = ()
    #: Records and parts of records.
    problems: tuple[ReadProblem, ...] = ()
    #: Sources that would have added checks.
    helpful: tuple[SourceName, ...] = ()


def _all_read(case: Case) -> bool:
    states = case.snapshot.sources
    return set(states.values()) == _COMPLETE and states.keys() >= _SOURCES


def data_unavailable(case: Case) -> Iterator[Found]:
    """A source the answer needs could not be read, wholly or in part, or nobody can tell which drug a record is of."""
    snapshot = case.snapshot
    if not snapshot.read_problems and _all_read(case) and not any(m.unread for m in snapshot.medications):
        return
    lost = _lost(case) if case.relevant else _lost_elsewhere(case)
    if lost.sources or lost.problems or lost.helpful:
        yield _found(case, lost)


def _missing(case: Case, sources: Iterable[SourceName]) -> tuple[SourceName, ...]:
    """Sources that were not read to the end, but for those that the site does not have."""
    snapshot = case.snapshot
    return tuple(s for s in sources if snapshot.state(s) != "complete" and s not in case.practice.not_sent)


def _lost(case: Case) -> _Lost:
    """The patient is on clozapine, or it is ordered or stopped: whatever could not be read matters."""
    problems = [p for p in case.snapshot.read_problems if p.matters]
    unread = _unread_medications(case)
    if case.is_order_hook and not (case.clozapine_drafts or case.stop_drafts or _warned(case)):
        # Clozapine is taken as it is; what else is taken beside it is for its own orders and for visits.
        problems = [p for p in problems if p.source not in _EVIDENCE or p.hints]
        unread = ()
    return _Lost(_missing(case, _NEEDED), (*problems, *unread), _missing(case, _HELPFUL))


def _lost_elsewhere(case: Case) -> _Lost:
    """Nothing that was read says that clozapine is taken: what was not read is said where it may be taken all the same, and matters."""
    problems = [p for p in case.snapshot.read_problems if p.matters]
    orders = [p for p in problems if p.source == "draftOrders"]
    unread = _unread_medications(case)
    hidden = _missing(case, _EVIDENCE)
    if not _in_question(case, unread=bool(unread), orders_failed="medications" in hidden):
        # An order of this call that could not be read may be one of clozapine, whoever the patient is.
        return _Lost(problems=tuple(p for p in orders if not p.in_question_only))
    # A file that is read as a whole has no sources: its problems may concern any.
    records = [p for p in problems if p.source in _EVIDENCE or p.source not in _WHERE]
    counts: tuple[SourceName, ...] = ()
    if hidden or unread or records or case.may_be_resumed or case.snapshot.registered:
        counts = _missing(case, ("counts",))
        records += [p for p in problems if p.source == "counts"]
    sources = sorted((*counts, *hidden), key=lambda s: s not in _NEEDED)
    return _Lost(tuple(sources), (*orders, *records, *unread))


def _in_question(case: Case, *, unread: bool, orders_failed: bool) -> bool:
    """Clozapine may be in question, although nothing that was read proves it: something hints at it, or what is ordered must not go beside it.

    Args:
        case: the case.
        unread: there are records that may be in force and nobody can tell which drug they are of.
        orders_failed: orders could not be read. Either way a little suffices.

    A failed source alone is no hint, nor are several: else every chart of every patient would get a card while an EHR is slow.
    """
    if _warned(case) or _low_count(case) is not None:
        return True
    if case.snapshot.registered or case.clozapine_in_session or case.may_be_resumed:
        return True
    if any(p.hints for p in case.snapshot.read_problems):
        return True
    if case.is_order_hook or not (unread or orders_failed):
        return False
    # Clozapine of whatever time; what it is given for; an order nobody can name, and no counts to rule anything out; a record of which
    # a part is cut off; counts that somebody watches, and late.
    if case.clozapine_records or case.has_problems(_GIVEN_FOR):
        return True
    if unread and (_missing(case, ("counts",)) or _unread_count(case)):
        return True
    if all(case.snapshot.state(source) == "incomplete" for source in _NEEDED):
        return True
    return _count_is_due(case)


def _warned(case: Case) -> tuple[Medication, ...]:
    """Orders of this call that would draw a warning beside clozapine."""
    return tuple(d for d in case.other_drafts if warned_of(d)) if case.is_order_hook else ()


def _low_count(case: Case) -> Measurement | None:
    """The newest count on record, when it lies in an abnormal band of the policy."""
    decided = case.decided
    return decided[1] if decided is not None and decided[0].finding is not None else None


def _unread_count(case: Case) -> bool:
    """A count of which nobody can tell the value is newer than every usable one: it may be a low one."""
    newest = case.anc.newest
    return any(
        newest is None or u.at is None or newest.at is None or u.at > newest.at
        for u in case.anc.unusable
        if u.raw != "no value"
    )


def _count_is_due(case: Case) -> bool:
    """There are counts, and the newest is older than it might be if the unread order were clozapine."""
    newest = case.anc.newest
    if newest is None:
        return False
    unread = _may_be_taken(case)
    if not unread:
        return case.age_days(newest) > max(phase.every_days for phase in case.policy.schedule)
    latest = max(unread, key=lambda m: m.start or _LONG_AGO)
    medications = tuple(
        replace(m, drugs=(CLOZAPINE,)) if m is latest else m for m in case.snapshot.medications
    )
    as_if = Case(replace(case.snapshot, medications=medications), case.policy, case.as_of, case.practice)
    return case.age_days(newest) > as_if.interval_days


def _may_be_taken(case: Case) -> list[Medication]:
    """Records of an unknown drug that is taken now, waits, or ended so lately that, of clozapine, it would still matter."""
    since = case.as_of - timedelta(days=case.policy.post_stop.window_days.value)
    return [m for m in case.snapshot.medications if m.unread and _is_of_interest(m, case.as_of, since)]


def _is_of_interest(m: Medication, as_of: datetime, since: datetime) -> bool:
    if is_live(m, as_of) or waits(m, as_of):
        return True
    span = span_of(m, as_of)
    return span is not None and span.end >= since


def _unread_medications(case: Case) -> tuple[ReadProblem, ...]:
    """As problems, the records of an unknown drug that may be taken."""
    if not any(m.unread for m in case.snapshot.medications):
        return ()
    return tuple(ReadProblem(_SOURCE_OF[m.role], m.ref, m.unread) for m in _may_be_taken(case))


def _found(case: Case, lost: _Lost) -> Found:
    sources = [_key(case, source) for source in (*lost.sources, *lost.helpful)]
    named = tuple(Sentence(f"source.{key}") for key in sources)
    needed = bool(lost.sources or lost.problems)
    # Why it matters is part of what is seen: whoever overrides it for one order or count has not done so for the next.
    orders = case.clozapine_drafts if case.relevant else _warned(case)
    low = None if case.relevant else _low_count(case)
    summary, shorter = _summary(case, lost, orders, low, needed=needed)
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
            *_causes(case, lost),
        ),
        policy_says=(sentence("data-unavailable.policy"),),
        suggested=_steps(case, lost, low),
        unchecked=named,
        evidence=(
            *(count_evidence(case, low) if low is not None else ()),
            *(drug_fact(d) for d in orders if d.ref),
            *(
                Fact(p.ref, Sentence("quoted.text", {"text": quoting(p.reason)}))
                for p in lost.problems[:8]
                if p.ref
            ),
        ),
        missing=named or (sentence("data-unavailable.missing-records"),),
        citation=_THIS_SERVICE,
    )


def _summary(
    case: Case, lost: _Lost, orders: tuple[Medication, ...], low: Measurement | None, *, needed: bool
) -> tuple[Sentence, Sentence | None]:
    """What was not read, and first why that matters in somebody of whom nobody knows whether clozapine is taken; and the same shorter."""
    keys = _named(case, lost)
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


def _steps(case: Case, lost: _Lost, low: Measurement | None) -> tuple[Sentence, ...]:
    careful = sentence("data-unavailable.no-safety")
    if case.relevant:
        return (sentence("data-unavailable.look-up-data"), careful)
    steps = [sentence("data-unavailable.look-up-clozapine")]
    if any(p.source == "draftOrders" for p in lost.problems):
        steps.insert(0, sentence("data-unavailable.look-up-order"))
    if low is not None and case.decided is not None and case.decided[0].treatment != "continue":
        steps.append(sentence("data-unavailable.stop-if-taken"))
    return (*steps, sentence("data-unavailable.not-taken"), careful)


def _key(case: Case, source: SourceName) -> str:
    """How the catalogue names a source that was not read; one that the answer rests on and that was read in part has a name of its own."""
    return f"{source}-part" if source in _NEEDED and case.snapshot.state(source) == "incomplete" else source


def _not_known(case: Case) -> Sentence:
    """What is known of clozapine in a patient whose record shows no treatment."""
    if case.snapshot.registered:
        return sentence("data-unavailable.registered")
    return sentence("data-unavailable.not-known")


def _named(case: Case, lost: _Lost) -> list[str]:
    """What the summary names: sources, an order of this call, parts of the record; of many parts, that there are many."""
    names = [_key(case, source) for source in lost.sources]
    if any(p.source == "draftOrders" for p in lost.problems):
        names.insert(0, "order")
    elif lost.problems and not names:
        names = _parts(lost.problems)
    return names or [_key(case, source) for source in lost.helpful]


def _parts(lost: Iterable[ReadProblem]) -> list[str]:
    """Which parts of the record lost something; of many, that there are many."""
    wheres = list(dict.fromkeys(_WHERE.get(p.source, ("", "record-part"))[1] for p in lost))
    return wheres if len(wheres) <= _AT_MOST_NAMED else ["some-records"]


def _causes(case: Case, lost: _Lost) -> list[Sentence]:
    """Why things could not be read, each cause once: ``Blood counts (Observation/7) – left out: …``; at most so many lines."""
    sources = {*lost.sources, *lost.helpful}
    told = [
        p for p in case.snapshot.read_problems if case.relevant or p.source in sources or p in lost.problems
    ]
    causes: dict[tuple[str, str], dict[str, None]] = {}
    # What may be clozapine itself comes first: orders of this call, then records whose drug nobody knows.
    unread = [p for p in lost.problems if p not in told]
    for p in sorted((*unread, *told), key=lambda p: p.source != "draftOrders"):
        causes.setdefault((p.source, p.reason), {}).update(dict.fromkeys([p.ref] if p.ref else []))
    shown = list(causes.items())
    if len(shown) > _MOST_CAUSES:
        del shown[_MOST_CAUSES - 1 :]
    lines = [_cause(source, reason, list(refs)) for (source, reason), refs in shown]
    if len(causes) > len(shown):
        lines.append(sentence("data-unavailable.other-causes", n=Number(len(causes) - len(shown), 0)))
    return lines


def _cause(source: str, reason: str, refs: list[str]) -> Sentence:
    said: dict[str, Param] = {
        "source": Sentence(_WHERE[source][0]) if source in _WHERE else quoting(source),
        "reason": quoting(reason),
    }
    if not refs:
        return Sentence("data-unavailable.cause", said)
    said["refs"] = Listed(tuple(quoting(ref) for ref in refs[:_MOST_REFS]), last="")
    if len(refs) <= _MOST_REFS:
        return Sentence("data-unavailable.cause-of", said)
    said["n"] = Number(len(refs) - _MOST_REFS, 0)
    return Sentence("data-unavailable.cause-of-several", said)


def _stopping_count(case: Case) -> Measurement | None:
    """A recent count at which clozapine would have to stop, whoever takes it."""
    decided = case.decided
    if decided is None or decided[0].treatment == "continue":
        return None
    return decided[1] if case.age_days(decided[1]) <= case.policy.results.recent_days.value else None


@when(*RELEVANT, "abnormal-count")
def medication_unrecognized(case: Case) -> Iterator[Found]:
    """Medications that cannot be identified: named, so that they are checked by eye.

    In a patient nobody knows to take clozapine it matters while a count is so low that clozapine would have to stop: a name
    that nothing recognises may be a brand of it.
    """
    low = None if case.relevant else _stopping_count(case)
    if not case.relevant and low is None:
        return
    shown = [m for m in case.other_drafts if not m.drugs and m.matched_by == "none"]
    if low is not None or not case.is_order_hook or case.clozapine_drafts or _warned(case):
        shown += [
            m
            for m in case.other_current
            # What has no name at all, data_unavailable says.
            if not m.drugs and not m.unread and m.matched_by == "none" and m.role in ("order", "statement")
        ]
    # Without a name there is nothing to recognise: data-unavailable speaks of it. What stays where it is put – eye drops – is checked
    # against nothing, recognised or not.
    shown = [m for m in shown if m.label and m.systemic]
    if not shown:
        return
    names = [Record(m.label, short=40) for m in shown]
    if low is None:
        summary = sentence("medication-unrecognized.summary", drugs=Listed(tuple(names[:3])))
    else:
        summary = sentence(
            "medication-unrecognized.low-count",
            count=short_count(case, low),
            drugs=Listed(tuple(names[:2])),
        )
    yield Found(
        code="medication-unrecognized",
        severity="info",
        subject="unrecognized",
        summary=summary,
        why=(
            *(
                (sentence("medication-unrecognized.would-stop", line=count_line(case, low)),)
                if low is not None
                else ()
            ),
            *(
                sentence("medication-unrecognized.drug", drug=Record(m.label), ref=quoting(m.ref))
                for m in shown[:10]
            ),
        ),
        policy_says=(sentence("medication-unrecognized.policy"),),
        suggested=(
            *((sentence("medication-unrecognized.stop-if-clozapine"),) if low is not None else ()),
            sentence("medication-unrecognized.check"),
        ),
        evidence=(
            *(count_evidence(case, low) if low is not None else ()),
            *(Fact(m.ref, recorded(m.label)) for m in shown[:10]),
        ),
        changes_order=True,
        missing=() if all(m.ref for m in shown) else (sentence("medication-unrecognized.missing"),),
        citation=_THIS_SERVICE,
    )


RULES = (data_unavailable, medication_unrecognized)
