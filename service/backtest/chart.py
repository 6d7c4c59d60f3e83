"""One patient's whole record, and what of it could be seen at any moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import isfinite
from operator import itemgetter
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from service.alerts.facts.patient import (
    CLOZAPINE,
    Allergy,
    CodedResult,
    Measurement,
    Medication,
    PatientSnapshot,
    Problem,
    ReadProblem,
    SourceState,
    UnusableResult,
)
from service.alerts.knowledge.classes import classes_of
from service.alerts.say.language import english
from service.backtest.export import Faults
from service.backtest.histories import MedicationHistory, ProblemHistory, histories, problem_history, seconds
from service.backtest.known import (
    Extra,
    ResultsKnown,
    extra_dates,
    known_at,
    known_at_of_unreadable,
    read_at,
)
from service.backtest.relevance import Products
from service.fhir import snapshot as fhir_snapshot
from service.fhir.decode import read_one
from service.fhir.gather import Gathered, SourceData
from service.fhir.medication import MedicationReader
from service.fhir.queries import QUERIES
from service.fhir.references import read_reference
from service.fhir.resources import (
    AllergyIntolerance,
    AnyResource,
    Condition,
    MedicationRequest,
    Observation,
    Patient,
    Resource,
)
from service.fhir.resources import Medication as MedicationResource
from service.options.site import Site

_RECORD = "medications"
_SLOW = timedelta(days=7)
_all = msgspec.json.Decoder(list[AnyResource])
_WITH_EXTRA = (Condition, AllergyIntolerance, MedicationRequest, Patient)
#: Orders that were really written; proposals, plans and options are not signed.
_SIGNED = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order", None})
_NEVER_SIGNED = frozenset({"draft", "entered-in-error"})
Fact = TypeVar("Fact")


class Reading(Struct, frozen=True):
    """How records are read."""

    #: Whose zone, local codes and options apply.
    site: Site
    results: ResultsKnown
    #: By prefetch key.
    states: dict[str, SourceState]


_when = itemgetter(0)


class _Dated(Generic[Fact]):
    """Facts in the order in which they became known."""

    def __init__(self, facts: Iterable[tuple[float, Fact]]) -> None:
        ordered = sorted(facts, key=_when)
        self._known = [known for known, _ in ordered]
        self._facts = tuple(fact for _, fact in ordered)

    @property
    def last(self) -> float:
        """When the newest became known."""
        return self._known[-1] if self._known else float("-inf")

    def until(self, moment: float) -> tuple[Fact, ...]:
        """What was known at a moment."""
        return self._facts[: bisect_right(self._known, moment)]


class Order(Struct, frozen=True):
    """An order for clozapine or for a drug that interacts with it, as the draft it was before it was signed."""

    ref: str
    written: datetime
    draft: Medication


class Chart:
    """The facts of one patient, each with the moment from which it may be seen.

    Args:
        patient_id: whose record.
        lines: (``file:line``, resource) of the export.
        products: Medication resources of the export.
        reading: zone, site codes, states of sources.
        faults: told of resources that cannot be read.
    """

    def __init__(
        self,
        patient_id: str,
        lines: list[tuple[str, bytes]],
        products: Products,
        reading: Reading,
        faults: Faults,
    ) -> None:
        self.patient_id = patient_id
        self.reading = reading
        self.deceased: datetime | None = None
        #: Results, and those issued long after their sample: a sign that ``issued`` is the day the data were loaded.
        self.results = self.slow_results = 0
        self.undated_orders = 0
        self._known: dict[str, datetime | None] = {}
        self._extras: dict[str, Extra] = {}
        self._unreadable: list[tuple[float, ReadProblem]] = []
        resources = self._read(lines, faults)
        reader = self._add_products(resources, products)
        facts = self._facts(resources)
        self._sort(facts)
        self.orders = self._orders(resources, reader, {m.ref: m.drugs for m in facts.medications})

    # -- reading ------------------------------------------------------------------------------------------------

    def _read(self, lines: list[tuple[str, bytes]], faults: Faults) -> list[Resource]:
        resources: list[Resource] = []
        reading = self.reading
        for index, ((where, raw), (resource, problem)) in enumerate(zip(lines, _decoded(lines), strict=True)):
            if problem is not None:
                faults.add(where, english().reason(problem.reason))
                at = known_at_of_unreadable(raw, reading.site.zone)
                self._unreadable.append((seconds(at), problem))
            if resource is None:
                continue
            if resource.id is None and not isinstance(resource, Patient):
                resource.id = f"unnamed-{index}"
            reference = f"{type(resource).__name__}/{resource.id}"
            if type(resource) is Observation:
                # Mostly issued when taken: then the fact's own time says all.
                if resource.issued is not None and resource.issued != resource.effectiveDateTime:
                    self._known[reference] = read_at(resource.issued, reading.site.zone)
            else:
                extra = extra_dates(raw) if isinstance(resource, _WITH_EXTRA) else None
                self._known[reference] = known_at(resource, extra, reading.site.zone)
                if extra is not None:
                    self._extras[reference] = extra
                    if isinstance(resource, Patient):
                        self.deceased = read_at(extra.deceasedDateTime, reading.site.zone)
            resources.append(resource)
        return resources

    def _add_products(self, resources: list[Resource], products: Products) -> MedicationReader:
        """Add the Medication resources that the records refer to."""
        found: dict[str, MedicationResource] = {}
        for resource in list(resources):
            reference = getattr(resource, "medicationReference", None)
            product = products.get(reference)
            if reference is not None and product is not None:
                target = read_reference(reference.reference)
                if target.form == "absolute":
                    # The files of an export do not tell the server's address; such a reference does.
                    product.full_url = reference.reference.partition("/_history/")[0]
                found |= dict.fromkeys((target.text, f"Medication/{product.id}"), product)
        resources += {p.id: p for p in found.values()}.values()
        site = self.reading.site
        return MedicationReader(site.zone, found, site.maps.codes, country=site.maps.country)

    def _orders(
        self, resources: list[Resource], reader: MedicationReader, drugs: dict[str, tuple[str, ...]]
    ) -> list[Order]:
        """Orders that the service would be asked about when they are signed, oldest first."""
        orders: dict[str, Order] = {}
        for r in resources:
            if type(r) is not MedicationRequest or r.status in _NEVER_SIGNED or r.intent not in _SIGNED:
                continue
            reference = f"MedicationRequest/{r.id}"
            if not _asked_about(drugs.get(reference, ())):
                continue
            written = self._known[reference]
            if written is None:
                self.undated_orders += 1
                continue
            signed = msgspec.structs.replace(r, status="draft", statusReason=None)
            draft = reader.request(signed, fhir_snapshot.DRAFTS, draft=True)
            orders[reference] = Order(reference, written, draft)
        return sorted(orders.values(), key=lambda o: (o.written, o.ref))

    def _facts(self, resources: list[Resource]) -> PatientSnapshot:
        sources = {key: SourceData("complete", [], []) for key in QUERIES}
        sources[_RECORD].resources = resources
        return fhir_snapshot.build(
            patient_id=self.patient_id,
            hook="order-sign",
            zone=self.reading.site.zone,
            gathered=Gathered(sources),
            maps=self.reading.site.maps,
        )

    def _seen(self, ref: str, fallback: datetime | None) -> float:
        return seconds(self._known.get(ref) or fallback)

    def _result_seen(self, ref: str, taken: datetime | None) -> float:
        """A result is seen once it is issued, and never before its sample was taken."""
        issued = self._known.get(ref)
        if issued is None or taken is None:
            return seconds(taken or issued)
        self.slow_results += issued - taken > _SLOW
        return seconds(max(issued, taken) if self.reading.results == "issued" else taken)

    def _sort(self, facts: PatientSnapshot) -> None:
        zone = self.reading.site.zone
        seen = self._result_seen
        self._sex, self._birth_date = facts.sex, facts.birth_date
        self._measurements: dict[str, _Dated[Measurement]] = {
            kind: _Dated((seen(m.ref, m.at), m) for m in values)
            for kind, values in facts.measurements.items()
        }
        self.results = sum(len(values) for values in facts.measurements.values())
        self._unusable: _Dated[UnusableResult] = _Dated((seen(u.ref, u.at), u) for u in facts.unusable)
        self._coded: _Dated[CodedResult] = _Dated((seen(c.ref, c.at), c) for c in facts.coded)
        self._allergies: _Dated[Allergy] = _Dated((self._seen(a.ref, None), a) for a in facts.allergies)
        self._problems: list[ProblemHistory] = [
            problem_history(p, self._known.get(p.ref), self._extras.get(p.ref), zone) for p in facts.problems
        ]
        self._medications: list[MedicationHistory] = histories(
            facts.medications, self._known, self._extras, zone
        )
        noted = [(self._seen(p.ref, None), p) for p in facts.read_problems]
        self._read_problems: _Dated[ReadProblem] = _Dated([*self._unreadable, *noted])

    # -- what is asked of it --------------------------------------------------------------------------------------

    @property
    def has_clozapine(self) -> bool:
        """Any record of clozapine at all."""
        return any(CLOZAPINE in m.now.drugs for m in self._medications)

    @property
    def first_clozapine(self) -> datetime | None:
        """The first dated record of clozapine."""
        dated = [m.now for m in self._medications if CLOZAPINE in m.now.drugs]
        return min((at for m in dated if (at := self._known.get(m.ref) or m.start)), default=None)

    @property
    def last_entry(self) -> datetime | None:
        """The newest result, record of a medication or problem."""
        newest = max(
            [
                *(dated.last for dated in self._measurements.values()),
                self._coded.last,
                *(m.known for m in self._medications),
                *(p.known for p in self._problems),
            ],
            default=float("-inf"),
        )
        return datetime.fromtimestamp(newest, self.reading.site.zone) if isfinite(newest) else None

    def at(self, moment: datetime, hook: str, orders: tuple[Order, ...] = ()) -> PatientSnapshot:
        """What could be seen at a moment, with the orders that were being signed then."""
        when = moment.timestamp()
        signing = {o.ref for o in orders}
        medications = []
        replaced: dict[str, list[str]] = {}
        for history in self._medications:
            if history.now.ref in signing:
                continue
            if history.replaced_by in signing:
                replaced.setdefault(history.replaced_by, []).append(history.now.ref)
            record = history.at(when)
            if record is not None:
                medications.append(record)
        drafts = tuple(
            o.draft
            if o.ref not in replaced
            else msgspec.structs.replace(o.draft, replaces=(*o.draft.replaces, *replaced[o.ref]))
            for o in orders
        )
        problems: list[Problem] = [found for p in self._problems if (found := p.at(when)) is not None]
        reading = self.reading
        return PatientSnapshot(
            patient_id=self.patient_id,
            hook=hook,
            zone=reading.site.zone,
            sex=self._sex,
            birth_date=self._birth_date,
            drafts=drafts,
            medications=tuple(medications),
            measurements={
                kind: values for kind, dated in self._measurements.items() if (values := dated.until(when))
            },
            unusable=self._unusable.until(when),
            coded=self._coded.until(when),
            problems=tuple(problems),
            allergies=self._allergies.until(when),
            sources=reading.states,
            read_problems=self._read_problems.until(when),
        )


def _decoded(lines: list[tuple[str, bytes]]) -> list[tuple[Resource | None, ReadProblem | None]]:
    """Every line as :func:`read_one` reads it; all at once when all are sound, which is faster."""
    try:
        return [(r, None) for r in _all.decode(b"[" + b",".join([raw for _, raw in lines]) + b"]")]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return [read_one(raw, _RECORD) for _, raw in lines]


def _asked_about(drugs: tuple[str, ...]) -> bool:
    """Clozapine, or a drug that interacts with it."""
    return CLOZAPINE in drugs or any(c.finding for drug in drugs for c in classes_of(drug))
