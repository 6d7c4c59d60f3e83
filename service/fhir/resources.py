"""Inbound FHIR R4, leniently: Structs that name only the elements the rules need.

Elements that clients are known to send in odd shapes are typed ``Any`` and read with care where they are used, so that one odd
element costs itself and not the resource. None of them can refer to itself, so the garbage collector need not look at them (``gc=False``).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct, field


class Coding(Struct, gc=False):
    """FHIR Coding."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Struct, gc=False):
    """FHIR CodeableConcept."""

    coding: list[Coding] | None = None
    text: str | None = None


class Reference(Struct, gc=False):
    """FHIR Reference."""

    reference: str | None = None
    display: str | None = None
    #: A logical reference: by a number the patient is known by. Read only where there is no ``reference``.
    identifier: Raw = Raw(b"")


class Quantity(Struct, gc=False):
    """FHIR Quantity; a value sent as a string stays one and is not believed."""

    value: float | int | str | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Period(Struct, gc=False):
    """FHIR Period."""

    start: str | None = None
    end: str | None = None


class Component(Struct, gc=False):
    """Observation.component."""

    code: CodeableConcept | None = None
    valueQuantity: Quantity | None = None
    valueString: str | None = None
    valueCodeableConcept: CodeableConcept | None = None
    #: Rarer forms of a value (service.fhir.other_values), and why there is none.
    valueInteger: Any = None
    valueBoolean: Any = None
    valueRange: Any = None
    valueRatio: Any = None
    valueSampledData: Any = None
    dataAbsentReason: Raw = Raw(b"")
    referenceRange: Raw = Raw(b"")
    interpretation: Raw = Raw(b"")


class Resource(Struct, tag_field="resourceType", gc=False):
    """Base of everything read."""

    id: str | None = None
    #: ``Bundle.entry.fullUrl``, put in by the decoder: no FHIR element has such a name.
    full_url: str | None = field(default=None, name="(fullUrl)")
    #: Says that the resource may mean something else than its elements say (R4 extensibility); none is known here.
    modifierExtension: Raw = Raw(b"")
    #: Rules without which the resource must not be read (R4 resource.html); none is known here.
    implicitRules: Any = None


class Observation(Resource, tag="Observation"):
    """A result."""

    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    effectiveDateTime: str | None = None
    effectiveInstant: str | None = None
    effectivePeriod: Period | None = None
    issued: str | None = None
    valueQuantity: Quantity | None = None
    valueString: str | None = None
    valueCodeableConcept: CodeableConcept | None = None
    #: Rarer forms of a value (service.fhir.other_values), and why there is none.
    valueInteger: Any = None
    valueBoolean: Any = None
    valueRange: Any = None
    valueRatio: Any = None
    valueSampledData: Any = None
    dataAbsentReason: Raw = Raw(b"")
    #: Read later, and only for the few kinds that are judged by their own range.
    referenceRange: Raw = Raw(b"")
    component: list[Component] | None = None
    hasMember: list[Reference] | None = None
    specimen: Reference | None = None
    #: Read later, and only where no range is: the laboratory's flag.
    interpretation: Raw = Raw(b"")
    #: Read later, and only for blood pressures: the posture.
    extension: Raw = Raw(b"")
    #: Read later: results inside a panel.
    contained: Raw = Raw(b"")


class DiagnosticReport(Resource, tag="DiagnosticReport"):
    """A report: says which results belong together, and may hold some that exist nowhere else."""

    status: str | None = None
    subject: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    issued: str | None = None
    code: CodeableConcept | None = None
    result: list[Reference] | None = None
    #: Looked at only where no result of the report came: what it says in words or as a document.
    conclusion: Any = None
    conclusionCode: Any = None
    presentedForm: Raw = Raw(b"")
    #: Read later.
    contained: Raw = Raw(b"")


class Specimen(Resource, tag="Specimen"):
    """What a result was measured in: read for the time it was taken, where the result names none."""

    subject: Reference | None = None
    collection: Any = None
    receivedTime: Any = None


class Patient(Resource, tag="Patient"):
    """Who."""

    gender: str | None = None
    birthDate: str | None = None
    deceasedBoolean: Any = None
    deceasedDateTime: Any = None
    #: Read only where a record names the patient by one.
    identifier: Raw = Raw(b"")
    #: Read only where a record that was merged away matters.
    link: Raw = Raw(b"")


class Condition(Resource, tag="Condition"):
    """A problem."""

    subject: Reference | None = None
    #: In place of ``subject``: DSTU2.
    patient: Reference | None = None
    code: CodeableConcept | None = None
    clinicalStatus: CodeableConcept | None = None
    verificationStatus: CodeableConcept | None = None
    category: Any = None
    onsetDateTime: str | None = None
    onsetPeriod: Any = None
    abatementDateTime: str | None = None
    abatementPeriod: Any = None
    abatementString: Any = None
    abatementAge: Any = None
    abatementRange: Any = None
    recordedDate: str | None = None


class AllergyIntolerance(Resource, tag="AllergyIntolerance"):
    """An allergy."""

    patient: Reference | None = None
    code: CodeableConcept | None = None
    clinicalStatus: CodeableConcept | None = None
    verificationStatus: CodeableConcept | None = None
    #: In place of ``code``: DSTU2.
    substance: Any = None
    #: Read only for its substances and signs.
    reaction: Any = None


class ServiceRequest(Resource, tag="ServiceRequest"):
    """An order for a test."""

    status: str | None = None
    subject: Reference | None = None
    code: CodeableConcept | None = None
    #: How often a standing order is carried out.
    occurrenceTiming: Any = None


class MedicationIngredient(Struct, gc=False):
    """Medication.ingredient."""

    itemCodeableConcept: CodeableConcept | None = None
    strength: Any = None


class Medication(Resource, tag="Medication"):
    """A product."""

    code: CodeableConcept | None = None
    form: CodeableConcept | None = None
    ingredient: list[MedicationIngredient] | None = None


class _DrugRecord(Resource, gc=False):
    """What the records of drugs have in common: how they name the drug."""

    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    #: R5: a CodeableReference in place of both.
    medication: Any = None

    def __post_init__(self) -> None:
        # A failing conversion makes the record one that cannot be read, which is said.
        named = self.medication
        if (
            named is None
            or self.medicationCodeableConcept is not None
            or self.medicationReference is not None
        ):
            return
        sent = msgspec.convert(named, _CodeableReference)
        self.medicationCodeableConcept, self.medicationReference = sent.concept, sent.reference


class _CodeableReference(Struct, gc=False):
    """FHIR R5 CodeableReference."""

    concept: CodeableConcept | None = None
    reference: Reference | None = None


class MedicationRequest(_DrugRecord, tag="MedicationRequest"):
    """An order for a drug."""

    status: str | None = None
    intent: str | None = None
    subject: Reference | None = None
    contained: list[Any] | None = None
    authoredOn: str | None = None
    statusReason: CodeableConcept | None = None
    #: Read by service.fhir.sig, which remembers instructions it has seen.
    dosageInstruction: Raw = Raw(b"")
    dispenseRequest: Any = None
    priorPrescription: Reference | None = None
    basedOn: list[Reference] | None = None
    category: Any = None
    doNotPerform: bool | None = None
    reportedBoolean: bool | None = None
    reportedReference: Reference | None = None
    #: Read only of orders of clozapine.
    identifier: Raw = Raw(b"")
    #: Read only of orders of clozapine, for what may change their dose.
    note: Raw = Raw(b"")
    #: Read only of orders that are over and name no end.
    meta: Raw = Raw(b"")


class MedicationStatement(_DrugRecord, tag="MedicationStatement"):
    """What the patient is said to take."""

    status: str | None = None
    subject: Reference | None = None
    #: In place of ``subject``: DSTU2.
    patient: Reference | None = None
    contained: list[Any] | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dateAsserted: str | None = None
    dosage: Raw = Raw(b"")
    statusReason: Any = None
    #: Read only of statements that are over and name no end.
    meta: Raw = Raw(b"")


class MedicationDispense(_DrugRecord, tag="MedicationDispense"):
    """A drug handed over."""

    status: str | None = None
    subject: Reference | None = None
    #: In place of ``subject``: DSTU2.
    patient: Reference | None = None
    contained: list[Any] | None = None
    whenHandedOver: str | None = None
    whenPrepared: str | None = None
    daysSupply: Quantity | None = None
    quantity: Quantity | None = None
    authorizingPrescription: list[Reference] | None = None
    #: Read by service.fhir.sig, which remembers instructions it has seen.
    dosageInstruction: Raw = Raw(b"")


class MedicationAdministration(_DrugRecord, tag="MedicationAdministration"):
    """A dose given, or not given."""

    status: str | None = None
    subject: Reference | None = None
    #: In place of ``subject``: DSTU2.
    patient: Reference | None = None
    contained: list[Any] | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    #: R5 (its spelling): when the dose was given.
    occurenceDateTime: str | None = None
    occurencePeriod: Period | None = None
    dosage: Raw = Raw(b"")
    statusReason: Raw = Raw(b"")


class OperationOutcome(Resource, tag="OperationOutcome"):
    """A failed or partial query."""

    issue: list[Any] | None = None


AnyResource = (
    Observation
    | DiagnosticReport
    | Specimen
    | Patient
    | Condition
    | AllergyIntolerance
    | ServiceRequest
    | Medication
    | MedicationRequest
    | MedicationStatement
    | MedicationDispense
    | MedicationAdministration
    | OperationOutcome
)


class Link(Struct, gc=False):
    """Bundle.link."""

    relation: str | None = None
    url: str | None = None


class Entry(Struct, gc=False):
    """Bundle.entry with its resource decoded."""

    resource: AnyResource | None = None
    fullUrl: str | None = None
    #: Of a batch: how the server answered this one.
    response: Any = None


class Bundle(Struct, tag_field="resourceType", tag="Bundle", gc=False):
    """A Bundle whose entries are all sound: the fast way."""

    entry: list[Entry] | None = None
    link: list[Link] | None = None
    total: Any = None


class RawEntry(Struct):
    """Bundle.entry with its resource as a slice of the body."""

    resource: Raw = Raw(b"")
    fullUrl: Any = None
    response: Any = None


class RawBundle(Struct, tag_field="resourceType", tag="Bundle"):
    """A Bundle read entry by entry, so that a rotten one spoils only itself."""

    #: Each a RawEntry, if it is one.
    entry: list[Raw] | None = None
    link: list[Link] | None = None
    total: Any = None


class Peek(Struct):
    """Type and id of a resource that could not be read otherwise."""

    resourceType: Any = None
    id: Any = None
    status: Any = None
    subject: Any = None
    patient: Any = None
