"""What texts beside the doses of clozapine may say of it: in orders, in statements and in dispenses (``notes`` knows the words)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from service.alerts.case.exposure import DISPENSE_GIVEN, ORDER_LIVE, STATEMENT_LIVE
from service.alerts.facts.patient import CLOZAPINE, Medication
from service.fhir.notes import advice_of, amounts_of, names_a_change, speaks_of_a_stop, texts_of, unknown_mg
from service.fhir.resources import MedicationDispense, MedicationRequest, MedicationStatement, Resource
from service.fhir.sig import sig_of
from service.fhir.strength import strength_in_name


class Noted(Struct, frozen=True):
    """A record of clozapine with a text that may say that the dose is another one, or none."""

    record: Medication
    resource: Resource
    source: str
    #: mg that the record itself has.
    mg: frozenset[float]
    #: mg that its texts name.
    said_mg: frozenset[float]
    speaks_of_a_stop: bool
    names_a_change: bool


class BesideDoses:
    """Collects records with such texts, and says at the end which of them may matter.

    Of orders each one in force does. Of statements and of dispenses the newest one does, unless an order in force is newer or has the dose
    that is named: the pharmacy's “increased” of last month has been carried out since.
    """

    def __init__(self) -> None:
        self._noted: list[Noted] = []

    def take(self, record: Medication, resource: Resource, source: str) -> None:
        if CLOZAPINE not in record.drugs or record.stops or record.not_taken:
            return
        if not isinstance(resource, MedicationRequest | MedicationStatement | MedicationDispense):
            return
        if record.role != "draft" and record.status not in _IN_FORCE[record.role]:
            return
        if record.role == "draft" and (record.dose is None or record.dose.unreadable):
            return  # the dose was not read, and a card says so
        instructions = (
            resource.dosage if isinstance(resource, MedicationStatement) else resource.dosageInstruction
        )
        lines = sig_of(instructions).lines
        beside = [*texts_of(resource.note), *advice_of(lines)]
        written = [
            line["text"] for line in lines if isinstance(line, dict) and isinstance(line.get("text"), str)
        ]
        noted = Noted(
            record,
            resource,
            source,
            mg_of(record) | amounts_of(lines),
            frozenset(mg for text in beside for mg in unknown_mg(text, ())),
            any(map(speaks_of_a_stop, (*beside, *written))),
            any(map(names_a_change, beside)),
        )
        if noted.speaks_of_a_stop or noted.names_a_change or noted.said_mg:
            self._noted.append(noted)

    def that_matter(self, medications: Iterable[Medication], drafts: Iterable[Medication]) -> Iterator[Noted]:
        """Records whose texts may say something that no rule here knows."""
        known = [m for m in medications if CLOZAPINE in m.drugs]
        orders = [m for m in known if m.role == "order" and m.status in ORDER_LIVE]
        ordered = frozenset(mg for m in (*orders, *drafts) if CLOZAPINE in m.drugs for mg in mg_of(m))
        newest_order = max((at for m in orders if (at := _said_at(m)) is not None), default=None)
        for noted in self._noted:
            record = noted.record
            if record.role in ("draft", "order"):
                if noted.speaks_of_a_stop or noted.names_a_change or noted.said_mg - noted.mg:
                    yield noted
                continue
            at = _said_at(record)
            newer = (_said_at(m) for m in known if m.role == record.role)
            if at is not None and (
                any(other is not None and other > at for other in newer)
                or (newest_order is not None and newest_order > at)
            ):
                continue
            another = noted.said_mg - noted.mg - ordered
            if noted.speaks_of_a_stop or another or (noted.names_a_change and not noted.said_mg):
                yield noted


#: Statuses of records that tell of today.
_IN_FORCE = {"order": ORDER_LIVE, "statement": STATEMENT_LIVE, "dispense": DISPENSE_GIVEN}


def _said_at(record: Medication) -> datetime | None:
    """When an order or a statement was made, or a supply handed over."""
    return record.authored or record.start


def mg_of(record: Medication) -> frozenset[float]:
    """mg that an order has: of a day, of a single dose, of its steps, of a tablet."""
    dose, strength = record.dose, strength_in_name(record.label).mg_per_unit
    found = {record.strength_mg, strength}
    if dose is not None:
        found |= {
            dose.mg_per_day,
            dose.first_mg_per_day,
            dose.largest_single_mg,
            *(s.mg_per_day for s in dose.steps),
        }
    return frozenset(mg for mg in found if mg is not None)
