"""Whose a record is (cds-hooks checklist R6): the patient's in context, somebody else's, or nobody can tell. Only the first is believed."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts.reason import NO_REASON, Reason, because
from service.fhir.references import Home, read_reference
from service.fhir.resources import Patient, Reference, Resource

OTHER_PATIENT = because("left-out.other-patient")
OTHER_SERVER = because("left-out.other-server")
UNTOLD = because("left-out.untold")
UNCOMPARED = because("left-out.uncompared")
_SPACES = re.compile(r"[\s\-]+")


class _Other(Struct):
    reference: str | None = None


class _Link(Struct):
    other: _Other | None = None


class _Identifier(Struct):
    system: str | None = None
    value: str | None = None


_one = msgspec.json.Decoder(_Identifier)
_many = msgspec.json.Decoder(list[_Identifier])
_links = msgspec.json.Decoder(list[_Link])
Number = tuple[str, str]


def numbers_of(patient: Patient | None) -> frozenset[Number] | None:
    """(system, value) of the numbers a patient is known by; None when no Patient was read."""
    if patient is None:
        return None
    try:
        listed = _many.decode(patient.identifier) if len(patient.identifier) else []
    except msgspec.DecodeError:
        listed = []
    return frozenset(n for i in listed if (n := _number(i)) is not None)


def _number(identifier: _Identifier) -> Number | None:
    value = _SPACES.sub("", identifier.value or "").lower()
    return ((identifier.system or "").strip().rstrip("/").lower(), value) if value else None


def _linked(patient: Patient) -> frozenset[str]:
    """Ids of the Patients that a Patient says are the same person."""
    try:
        listed = _links.decode(patient.link) if len(patient.link) else []
    except msgspec.DecodeError:
        return frozenset()
    targets = (read_reference(link.other.reference) for link in listed if link.other is not None)
    return frozenset(t.id for t in targets if t.type == "Patient" and t.id)


def number_in(raw: Raw) -> Number | None:
    """(system, value) of a logical reference; None when it holds none."""
    try:
        return _number(_one.decode(raw)) if len(raw) else None
    except msgspec.DecodeError:
        return None


def subject_of(resource: Resource) -> Reference | None:
    """The patient that a resource names."""
    return getattr(resource, "subject", None) or getattr(resource, "patient", None)


def named_by_number(resource: Resource) -> bool:
    """True for a record that names its patient by a number only (a logical reference)."""
    subject = subject_of(resource)
    return subject is not None and not subject.reference and number_in(subject.identifier) is not None


class Whose:
    """Tells whose records are.

    Args:
        patient_id: the patient in context.
        home: which servers are the EHR's own.
        resources: everything that was sent: the patient's own Patient is among it, if it was sent.
    """

    def __init__(self, patient_id: str, home: Home, resources: Iterable[Resource] = ()) -> None:
        self.patient_id = patient_id
        self.home = home
        self.plain = f"Patient/{patient_id}"
        self._mixed = home.mixed
        self._sent = resources
        self._numbers: frozenset[Number] | None = None
        self._looked = False
        self._same: frozenset[str] | None = None

    def why_not(self, resource: Resource) -> Reason:
        """Why a record is not believed to be the patient's; empty when it is."""
        if type(resource) is Patient:
            return self._why_not_patient(resource)
        return self.why_not_of(subject_of(resource), resource.full_url)

    @property
    def _ids(self) -> frozenset[str]:
        """The patient's id, and those that a Patient says are the same person's (``Patient.link``): records merged, or to be."""
        if self._same is None:
            patients = [r for r in self._sent if type(r) is Patient and not self.home.elsewhere(r.full_url)]
            linked = {self.patient_id}
            for patient in patients:
                others = _linked(patient)
                if patient.id == self.patient_id:
                    linked |= others
                elif patient.id and self.patient_id in others:
                    linked.add(patient.id)
            self._same = frozenset(linked)
        return self._same

    def _why_not_patient(self, patient: Patient) -> Reason:
        if patient.id is not None and patient.id != self.patient_id and patient.id not in self._ids:
            return OTHER_PATIENT
        return OTHER_SERVER if self.home.elsewhere(patient.full_url) else NO_REASON

    def why_not_of(self, subject: Reference | None, holder: str | None = None) -> Reason:
        """As :meth:`why_not`, of a reference in a record with a ``fullUrl``. A record that names nobody came with the patient's own data."""
        if subject is None:
            return NO_REASON
        text = subject.reference
        if not text:
            return self._by_number(subject.identifier)
        if text == self.plain and not self._mixed:
            return NO_REASON
        target = read_reference(text)
        if target.form == "urn":
            named = self.home.names.get(target.text, "").removeprefix("Patient/")
            return NO_REASON if self.patient_id in (named, target.id) or named in self._ids else OTHER_PATIENT
        if target.type != "Patient" or (target.id != self.patient_id and target.id not in self._ids):
            return OTHER_PATIENT
        if target.form == "relative":
            return OTHER_SERVER if self.home.elsewhere(holder) else NO_REASON
        # Where nobody says which server is the EHR's own, type and id must do: the record came in answer to a search for this
        # patient, and to leave out every count of an EHR that writes whole addresses would hide more than it protects from.
        return OTHER_SERVER if self.home.own and target.base not in self.home.own else NO_REASON

    def _by_number(self, raw: Raw) -> Reason:
        """A logical reference: it must be one of the patient's own numbers.

        A stranger's normal count must not hide the patient's own 400; what cannot be compared is left out and said, never guessed.
        A number without a system is compared by its value alone.
        """
        number = number_in(raw)
        if number is None:
            return NO_REASON
        if not self._looked:
            own = [r for r in self._sent if type(r) is Patient and not self._why_not_patient(r)]
            known = [numbers for r in own if (numbers := numbers_of(r)) is not None]
            self._numbers, self._looked = frozenset().union(*known) if known else None, True
        if self._numbers is None:
            return UNCOMPARED
        system, value = number
        if any(v == value and (s == system or not s or not system) for s, v in self._numbers):
            return NO_REASON
        return OTHER_PATIENT if any(s == system for s, _ in self._numbers) else UNTOLD
