"""Resources to a PatientSnapshot: only of the patient in context, each fact with where it came from (cds-hooks checklist R5, R6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from service.alerts.case.exposure import ORDER_LIVE
from service.alerts.case.order_at_hand import is_blank
from service.alerts.case.supply_length import with_lengths
from service.alerts.facts.patient import (
    Allergy,
    Medication,
    PatientSnapshot,
    Problem,
    ReadProblem,
    SourceState,
    TestOrder,
)
from service.alerts.facts.reason import Reason, because
from service.alerts.facts.record_text import NAME, NOTHING, RecordText, to_read, to_show
from service.alerts.knowledge.catalogue import tests_by_text
from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.knowledge.code_systems import canonical
from service.alerts.knowledge.codes import tests_by_code
from service.alerts.knowledge.conditions import (
    denies_allergy,
    is_suspected,
    kinds_by_code,
    kinds_by_text,
    kinds_denied_by_text,
)
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.products import product_by_code
from service.fhir.code_fates import is_of_a_terminology, is_open
from service.fhir.decode import Decoded, left_out, read_orders, source_left_out
from service.fhir.gather import Gathered
from service.fhir.ledger import Books, ref_of
from service.fhir.loinc import is_loinc
from service.fhir.medication import CLOZAPINE, DRUG_SYSTEMS, UNREAD_NAME, MedicationReader
from service.fhir.modifiers import MODIFIED, is_modified
from service.fhir.notes import (
    SPEAKS_OF_THE_DOSE,
    advice_of,
    amounts_of,
    speaks_of_a_stop,
    speaks_of_another_dose,
    texts_of,
)
from service.fhir.observations import ObservationReader
from service.fhir.references import Home, base_of_resource, read_reference
from service.fhir.resource_types import NAMES_NO_DRUG
from service.fhir.resources import (
    AllergyIntolerance,
    CodeableConcept,
    Condition,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Patient,
    Reference,
    Resource,
    ServiceRequest,
)
from service.fhir.resources import Medication as MedicationResource
from service.fhir.sig import sig_of
from service.fhir.statuses import UNKNOWN_STATUS, settle
from service.fhir.strength import strength_in_name
from service.fhir.subjects import Whose
from service.fhir.times import read_date, read_moment
from service.fhir.timing import repeated_every

_HL7 = "http://terminology.hl7.org/"
_LIVE_REQUEST = frozenset({"draft", "active", "on-hold"})
DRAFTS = "draftOrders"
_RESULTS = frozenset({"counts", "labs", "vitals", "smoking"})
_MEDICATION_RECORDS = (MedicationRequest, MedicationStatement, MedicationDispense, MedicationAdministration)


class SiteMaps(Struct, frozen=True):
    """A site's own codes: (system, code) -> kind or drug id; (system, code) -> unit of results sent without one; and the country whose
    brands it writes (ISO 3166)."""

    codes: dict[tuple[str, str], str] = {}
    units: dict[tuple[str, str], str] = {}
    country: str = ""


NO_MAPS = SiteMaps()


def of_patient(
    resources: Iterable[Resource], whose: Whose, source: str, problems: list[ReadProblem]
) -> tuple[list[Resource], list[Resource]]:
    """(resources that may be believed, the others): those of another patient are left out and reported (R6)."""
    kept: list[Resource] = []
    others: list[Resource] = []
    plain = None if whose.home.mixed else whose.plain
    for resource in resources:
        subject: Reference | None = getattr(resource, "subject", None)
        if subject is not None and plain is not None and subject.reference == plain:
            kept.append(resource)  # nearly every record says it so
            continue
        why = whose.why_not(resource)
        if why:
            # The foreign resource's id is not repeated: it belongs to somebody else.
            problems.append(ReadProblem(source, type(resource).__name__, why))
            others.append(resource)
        else:
            kept.append(resource)
    return kept, others


def home_of(gathered: Gathered, drafts: Sequence[Resource], patient_id: str) -> Home:
    """Which servers the records of a call are on, and which is the EHR's own.

    Its own are: the call's ``fhirServer``, what a searchset says of itself, and the ``fullUrl`` of the patient in context.
    """
    own = set(gathered.servers)
    seen: set[str] = set()
    names: dict[str, str] = {}
    last, depth = "\0", 0
    for resources in (drafts, *(data.resources for data in gathered.sources.values())):
        for resource in resources:
            url = resource.full_url
            # A Bundle's entries are mostly on one server: the next one begins as the last one did.
            if url is None or (
                url.startswith(last) and url.count("/") == depth and type(resource) is not Patient
            ):
                continue
            if url.startswith("urn:"):
                names[read_reference(url).text] = f"{type(resource).__name__}/{resource.id}"
                continue
            base = base_of_resource(url)
            if base:
                seen.add(base)
                last, depth = f"{url.rsplit('/', 2)[0]}/", url.count("/")
                if type(resource) is Patient and resource.id == patient_id:
                    own.add(base)
    return Home(frozenset(own), frozenset(seen), names)


class _Builder:
    """Collects the facts of one call."""

    def __init__(
        self, whose: Whose, zone: tzinfo, maps: SiteMaps, failed: Mapping[str, Reason], books: Books
    ) -> None:
        self.whose = whose
        self.zone = zone
        self.books = books
        self.observations = ObservationReader(zone, maps.codes, maps.units, whose, books)
        self.medication_reader = MedicationReader(zone, {}, maps.codes, whose.home, failed, maps.country)
        self.country = maps.country
        self.problems: list[ReadProblem] = []
        self.medications: dict[str, Medication] = {}
        self.drafts: list[Medication] = []
        self.tests: list[TestOrder] = []
        self.conditions: dict[str, Problem] = {}
        self.allergies: dict[str, Allergy] = {}
        self.patient: Patient | None = None
        #: Sources that a record was left out of.
        self.spoilt: set[str] = set()

    def take(self, source: str, resources: list[Resource]) -> None:
        if not resources:
            return
        before = len(self.problems)
        self.books.give(len(resources))
        believed, others = of_patient(resources, self.whose, source, self.problems)
        if others:
            self._look_at_others(others, before)
            for other, problem in zip(others, self.problems[before:], strict=False):
                # The id is somebody else's.
                self.books.not_understood(source, type(other).__name__, "subject", problem.reason)
        for index, resource in enumerate(self.observations.read(believed, source)):
            try:
                self._take_one(resource, source, index)
            except Exception as error:
                self.problems.append(left_out(resource, source, error))
                self.spoilt.add(source)
                self.books.not_understood(source, ref_of(resource), "fault", self.problems[-1].reason)

    def _look_at_others(self, others: list[Resource], first: int) -> None:
        """Records that are not believed are not forgotten either: one that names clozapine says that the EHR's list is mixed up."""
        for place, resource in enumerate(others, first):
            if isinstance(resource, _MEDICATION_RECORDS):
                named = (
                    resource.medicationCodeableConcept,
                    resource.medicationReference,
                    resource.contained,
                    resource,
                )
                if CLOZAPINE in self.medication_reader.identify(*named).drugs:
                    self.problems[place] = replace(self.problems[place], hints=True)

    def _take_one(self, r: Resource, source: str, index: int) -> None:
        reader = self.medication_reader
        unread = reader.unread_names
        record: Medication | None = None
        clear = not isinstance(r, _MEDICATION_RECORDS) or settle(r)
        if type(r) is MedicationRequest:
            record = reader.ordered(r, source)
        elif type(r) is MedicationStatement:
            record = reader.statement(r, source) if r.status != "entered-in-error" else None
        elif type(r) is MedicationDispense:
            record = (
                reader.dispense(r, source)
                if r.status not in ("entered-in-error", "cancelled", "declined")
                else None
            )
        elif type(r) is MedicationAdministration:
            record = reader.administration(r, source) if r.status != "entered-in-error" else None
        elif type(r) is Condition:
            self._condition(r, source)
            return
        elif type(r) is AllergyIntolerance:
            self._allergy(r, source)
            return
        elif type(r) is ServiceRequest:
            self._test(r, source, draft=False)
            return
        elif type(r) is Patient:
            self.patient = r
            self.books.read(source, r)
            return
        else:  # a product: it is read where a record names it
            self.books.read(source, r)
            return
        if reader.unread_names != unread:
            self._unread(source, record.ref if record is not None else "", UNREAD_NAME)
        if record is not None:
            self.medications[record.ref or f"{source}#{index}"] = record
            if not clear and (record.unread or any(_speaks_up(drug) for drug in record.drugs)):
                hints = CLOZAPINE in record.drugs
                self.problems.append(ReadProblem(source, record.ref, UNKNOWN_STATUS, hints=hints))
                self.spoilt.add(source)
                self.books.element(source, ref_of(r), "status", "status", UNKNOWN_STATUS)
            self._say_instead(record, source)
            self._say_notes(record, r, source)
            if is_modified(r):
                self._modified(record, r, source)
        self._enter(record, r, source)

    def _enter(self, record: Medication | None, r: Resource, source: str) -> None:
        """Enter in the ledger what became of a record of a medication."""
        books, ref = self.books, ref_of(r)
        if record is None:
            status = to_show(str(getattr(r, "status", None) or ""), _WORD)
            books.irrelevant(source, ref, "not-in-force", because("ledger.records-nothing", status=status))
        elif record.drugs:
            books.read(source, r)
            if CLOZAPINE in record.drugs and record.dose is not None and record.dose.unreadable:
                books.element(source, ref, "dosage", "dose", record.dose.unreadable)
        elif record.role == "draft" and is_blank(record):
            books.irrelevant(source, ref, "blank", because("ledger.blank"))
        elif record.unread:
            books.not_understood(source, ref, "product", record.unread)
        elif record.matched_by != "none":
            books.irrelevant(source, ref, "no-interaction", because("ledger.no-interaction"))
        else:
            books.not_understood(source, ref, "name", because("ledger.unknown-drug"))

    def take_drafts(self, decoded: Decoded, selections: Sequence[str] | None) -> None:
        self.problems += decoded.problems
        wanted = self._wanted(decoded, selections)
        books = self.books
        books.give(len(decoded.resources))
        for unknown in decoded.unknown:
            if unknown.type not in NAMES_NO_DRUG and (wanted is None or unknown.id in wanted):
                self._unread_draft(
                    f"{unknown.type}/{unknown.id}" if unknown.id else unknown.type, unknown.drugs
                )
        before = len(self.problems)
        believed, others = of_patient(decoded.resources, self.whose, DRAFTS, self.problems)
        for other, problem in zip(others, self.problems[before:], strict=False):
            books.not_understood(DRAFTS, type(other).__name__, "subject", problem.reason)
        for r in believed:
            if type(r) is MedicationRequest:
                settle(r)  # whatever it is called, it is an order in question
                if r.status == "entered-in-error":
                    self._enter(None, r, DRAFTS)
                    continue
                selected = wanted is None or (r.id or "") in wanted
                unread = self.medication_reader.unread_names
                try:
                    draft = self.medication_reader.request(r, DRAFTS, draft=True, selected=selected)
                except Exception as error:
                    self.problems.append(left_out(r, DRAFTS, error))
                    books.not_understood(DRAFTS, ref_of(r), "fault", self.problems[-1].reason)
                    continue
                self.drafts.append(draft)
                self._enter(draft, r, DRAFTS)
                self._say_instead(draft, DRAFTS)
                self._say_notes(draft, r, DRAFTS)
                if is_modified(r):
                    self._modified(draft, r, DRAFTS)
                if self.medication_reader.unread_names != unread:
                    self._unread(DRAFTS, draft.ref, UNREAD_NAME)
                if selected and not (draft.drugs or draft.label or draft.stops) and _names_a_product(r):
                    self.problems.append(
                        ReadProblem(DRAFTS, draft.ref, draft.unread or because("product.medication-unnamed"))
                    )
                # The draft of an order that the record holds already is the newer state of it; but until the drug
                # is stopped it is taken, and of clozapine the order tells what has been taken so far (Case.clozapine_records).
                if not draft.stops and CLOZAPINE not in draft.drugs:
                    self.medications.pop(draft.ref, None)
            elif type(r) is ServiceRequest:
                try:
                    self._test(r, DRAFTS, draft=True)
                except Exception as error:
                    self.problems.append(left_out(r, DRAFTS, error))
                    books.not_understood(DRAFTS, ref_of(r), "fault", self.problems[-1].reason)
            elif not isinstance(r, _MEDICATION_RECORDS):
                books.read(DRAFTS, r)
            else:
                books.not_understood(DRAFTS, ref_of(r), "type", because("ledger.no-order"))
            if (
                isinstance(r, _MEDICATION_RECORDS)
                and type(r) is not MedicationRequest
                and (wanted is None or (r.id or "") in wanted)
            ):
                named = (r.medicationCodeableConcept, r.medicationReference, r.contained, r)
                reference = f"{type(r).__name__}/{r.id}" if r.id else type(r).__name__
                self._unread_draft(reference, frozenset(self.medication_reader.identify(*named).drugs))

    def _unread_draft(self, reference: str, drugs: frozenset[str]) -> None:
        """An order in a form that no rule reads: it may be one of clozapine, or of what interacts with it."""
        type_name = reference.partition("/")[0]
        why = because("unread.no-order", type=type_name) if type_name else because("unread.no-order-at-all")
        names = CLOZAPINE in drugs
        self.problems.append(
            ReadProblem(
                DRAFTS,
                reference,
                because("unread.names-clozapine", why=why) if names else why,
                hints=names,
                in_question_only=not names,
            )
        )

    def _wanted(self, decoded: Decoded, selections: Sequence[str] | None) -> set[str] | None:
        """Ids of the selected drafts; None when every draft is in question, also because a selection names none of them."""
        if not selections:
            return None  # an empty list selects nothing, which no client means
        among = {r.id for r in decoded.resources} | {u.id for u in decoded.unknown}
        wanted = {_id_in(s) for s in selections if _may_name_a_medication(s)}
        drafts = {(type(r).__name__, r.id) for r in decoded.resources} | {
            (u.type, u.id) for u in decoded.unknown
        }
        matches = any(_names_one(s, drafts) for s in selections) or not any(map(_may_be_read, selections))
        if wanted <= among and matches:
            return wanted
        if not decoded.problems:
            self.problems.append(ReadProblem(DRAFTS, "", because("unread.selection")))
        return None

    def _unread(self, source: str, ref: str, why: Reason) -> None:
        """Note that a text was too long to be read."""
        self.problems.append(ReadProblem(source, ref, why))
        self.spoilt.add(source)

    def _say_instead(self, record: Medication, source: str) -> None:
        """Note that codes and words of a record name different drugs: it counts as one of all of them, and which is right nobody knows."""
        drugs = self.medication_reader.instead
        if not any(_speaks_up(drug) for drug in drugs):
            return
        why = because("unread.other-drugs", drugs=tuple(d.replace("-", " ") for d in drugs))
        self.problems.append(ReadProblem(source, record.ref, why, hints=CLOZAPINE in drugs))
        self.books.element(source, record.ref, "medication", "product", why)

    def _say_notes(self, record: Medication, r: Resource, source: str) -> None:
        """Note that a text beside the dose of an order of clozapine may say that it is another one, or none."""
        if type(r) is not MedicationRequest or CLOZAPINE not in record.drugs or record.stops:
            return
        if record.role != "draft" and record.status not in ORDER_LIVE:
            return
        lines = sig_of(r.dosageInstruction).lines
        beside = [*texts_of(r.note), *advice_of(lines)]
        written = [
            line["text"] for line in lines if isinstance(line, dict) and isinstance(line.get("text"), str)
        ]
        if record.role == "draft" and (record.dose is None or record.dose.unreadable):
            return  # the dose was not read, and a card says so
        known = _amounts_of(record) | amounts_of(lines)
        if any(map(speaks_of_a_stop, (*beside, *written))) or any(
            speaks_of_another_dose(text, known) for text in beside
        ):
            self.problems.append(ReadProblem(source, record.ref, SPEAKS_OF_THE_DOSE))
            self.books.element(source, ref_of(r), "note", "dose", SPEAKS_OF_THE_DOSE)

    def _modified(self, record: Medication, r: Resource, source: str) -> None:
        """Note that a record which a rule may ask for carries a modifierExtension."""
        if not (record.unread or any(_speaks_up(drug) for drug in record.drugs)):
            return
        self.problems.append(ReadProblem(source, record.ref, MODIFIED, hints=CLOZAPINE in record.drugs))
        self.spoilt.add(source)
        self.books.element(source, ref_of(r), "modifierExtension", "modifier", MODIFIED)

    def _condition(self, c: Condition, source: str) -> None:
        if c.code is None:
            self.books.not_understood(source, ref_of(c), "problem", because("ledger.no-problem"))
            return
        ref = f"Condition/{c.id}" if c.id else ""
        by_text: dict[str, None] = {}
        by_code: dict[str, str] = {}
        for coding in c.code.coding or ():
            if coding.code is not None and len(coding.code) <= NAME:
                by_code |= dict.fromkeys(kinds_by_code(coding.system or "", coding.code), coding.code.strip())
        names, unread = _names(c.code)
        for name in (*names[1:], *names[:1]) if c.code.text else names:
            by_text |= dict.fromkeys(kinds_by_text(name))
        if unread:
            self._unread(source, ref, _UNREAD_NAME)
        label = names[0] if names else to_show(c.code.text or "")
        denied = kinds_denied_by_text(label) if by_code else ()
        kinds = by_text | {kind: None for kind in by_code if kind not in denied}
        if not kinds:
            if unread:
                self.books.not_understood(source, ref_of(c), "name", _UNREAD_NAME)
            elif names or (is_of_a_terminology(c.code) and not is_open(c.code)):
                self.books.irrelevant(source, ref_of(c), "another-problem", because("ledger.another-problem"))
            else:
                self.books.not_understood(source, ref_of(c), "problem", _NO_WORDS)
                over = _code(c.clinicalStatus).lower() in _OVER
                if _has_any_code(c.code) and _code(c.verificationStatus).lower() not in _NEVER_TRUE:
                    if not is_open(c.code):
                        self.problems.append(ReadProblem(source, ref, _NO_WORDS))
                    elif not over:
                        self.problems.append(ReadProblem(source, ref, _NO_WORDS, at_orders=True))
            return
        if not label:  # a code without words is named by what it was read as
            kind = next(iter(kinds))
            label = to_show(f"{kind.replace('-', ' ')} (code {by_code[kind]})")
        onset = read_moment(c.onsetDateTime or _start(c.onsetPeriod) or c.recordedDate, self.zone)
        recorded = read_moment(c.recordedDate, self.zone)
        status = _code(c.clinicalStatus).lower()
        verification = _code(c.verificationStatus).lower()
        if verification in ("", "confirmed") and is_suspected(label):
            verification = "provisional"  # a suspicion in words must relax no threshold
        abated = read_moment(c.abatementDateTime or _end(c.abatementPeriod), self.zone)
        if not status and abated is None and (c.abatementString or c.abatementAge or c.abatementRange):
            status = "resolved"  # it is said to be over, if not with a date
        # What has no id is kept by its place: it must not stand for another one.
        self.conditions[ref or f"#{len(self.conditions)}"] = Problem(
            ref=ref,
            kinds=tuple(kinds),
            label=label,
            clinical_status=status,
            verification=verification,
            onset=onset.at if onset else None,
            onset_date_only=onset.date_only if onset else False,
            onset_until=onset.until if onset else None,
            named=tuple(by_text),
            abated=abated.at if abated else None,
            of_encounter=_has_code(c.category, "encounter-diagnosis"),
            recorded=recorded.at if recorded else None,
        )
        self.books.read(source, c)
        if is_modified(c):
            self._unread(source, ref, MODIFIED)
            self.books.element(source, ref_of(c), "modifierExtension", "modifier", MODIFIED)

    def _allergy(self, a: AllergyIntolerance, source: str) -> None:
        if a.code is None:
            a.code = _concept(a.substance)
        names, drugs, unread = _allergens(a.code, self.country)
        reactions = [r for r in a.reaction if isinstance(r, dict)] if isinstance(a.reaction, list) else []
        for reaction in reactions:
            more, found, also = _allergens(_concept(reaction.get("substance")), self.country)
            names += more
            drugs |= found
            unread = unread or also
        if unread:
            self._unread(source, f"AllergyIntolerance/{a.id}" if a.id else "", _UNREAD_NAME)
        signs = [
            to_show(text)
            for reaction in reactions
            for said in (
                [reaction.get("description")],
                [_words(_concept(m)) for m in _listed(reaction.get("manifestation"))],
            )
            for text in said
            if isinstance(text, str) and text
        ]
        if drugs:
            ref = f"AllergyIntolerance/{a.id}" if a.id else ""
            if is_modified(a):
                self._unread(source, ref, MODIFIED)
                self.books.element(source, ref_of(a), "modifierExtension", "modifier", MODIFIED)
            self.allergies[ref or f"#{len(self.allergies)}"] = Allergy(
                ref,
                tuple(sorted(drugs)),
                names[0] if names else NOTHING,
                _code(a.clinicalStatus).lower(),
                _code(a.verificationStatus).lower(),
                to_show(", ".join(dict.fromkeys(signs)), NAME),
            )
        self._enter_allergy(a, source, names, drugs, unread)

    def _enter_allergy(
        self,
        a: AllergyIntolerance,
        source: str,
        names: Sequence[str],
        drugs: Collection[str],
        unread: bool,
    ) -> None:
        """Enter in the ledger what became of an allergy."""
        if drugs:
            self.books.read(source, a)
        elif unread:
            self.books.not_understood(source, ref_of(a), "name", _UNREAD_NAME)
        elif names or (is_of_a_terminology(a.code) and not is_open(a.code)):
            self.books.irrelevant(source, ref_of(a), "another-allergy", because("ledger.another-allergy"))
        elif _has_any_code(a.code):
            self.books.not_understood(source, ref_of(a), "allergy", _NO_WORDS)
            if _code(a.verificationStatus).lower() not in _NEVER_TRUE:
                self.problems.append(ReadProblem(source, ref_of(a), _NO_WORDS, at_orders=is_open(a.code)))
        else:
            self.books.not_understood(source, ref_of(a), "allergy", because("ledger.no-substance"))

    def _test(self, s: ServiceRequest, source: str, *, draft: bool) -> None:
        if s.code is None or s.status not in _LIVE_REQUEST:
            if s.code is None:
                self.books.not_understood(source, ref_of(s), "order", because("ledger.names-no-test"))
            else:
                status = to_show(s.status or "", _WORD)
                self.books.irrelevant(
                    source, ref_of(s), "not-in-force", because("ledger.orders-nothing", status=status)
                )
            return
        tests = {
            t
            for c in s.code.coding or ()
            if c.code and is_loinc(c.system)
            for t in tests_by_code().get(c.code.strip(), ())
        }
        label = to_show(s.code.text or next((c.display for c in s.code.coding or () if c.display), "") or "")
        if (named := tests_by_text().get(label.strip().lower())) is not None:
            tests.add(named)
        if not tests:
            self.books.irrelevant(source, ref_of(s), "another-order", because("ledger.another-order"))
        else:
            self.tests.append(
                TestOrder(
                    f"ServiceRequest/{s.id}",
                    tuple(sorted(tests)),
                    label,
                    draft,
                    repeated_every(s.occurrenceTiming),
                )
            )
            self.books.read(source, s)


#: A problem or an allergy that nobody here can read, nor anybody who sees only its name.
_NO_WORDS = because("unread.no-words")
#: What was never true matters to nobody (R4 condition-ver-status, allergyintolerance-verification).
_NEVER_TRUE = frozenset({"refuted", "entered-in-error"})
#: A problem that is over (R4 condition-clinical).
_OVER = frozenset({"resolved", "inactive", "remission"})
#: Characters of a status that are repeated.
_WORD = 40
#: Why a problem or an allergy may not be known in full.
_UNREAD_NAME = because("unread.name-too-long", most=NAME)


def _names(concept: CodeableConcept) -> tuple[list[RecordText], bool]:
    """The names of a concept, its text first, and whether one was too long to be read."""
    sent = [t for t in (concept.text, *(c.display for c in concept.coding or ())) if t]
    read = [to_read(text, NAME) for text in sent]
    return [name for name in read if name], None in read


def _allergens(concept: CodeableConcept | None, country: str) -> tuple[list[RecordText], set[str], bool]:
    """(names, drugs, a name was too long to be read) of a substance; a text that denies an allergy names none."""
    if concept is None:
        return [], set(), False
    names, unread = _names(concept)
    drugs = {d for name in names if not denies_allergy(name) for d in drugs_by_name(name, country)}
    for coding in concept.coding or ():
        product = product_by_code(coding.system or "", coding.code or "")
        drugs |= set(product.drugs) if product is not None else set()
    return names, drugs, unread


def _has_any_code(concept: CodeableConcept | None) -> bool:
    return concept is not None and any(c.code for c in concept.coding or ())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _concept(value: Any) -> CodeableConcept | None:
    """A CodeableConcept that was decoded as plain JSON; None when it is none."""
    try:
        return msgspec.convert(value, CodeableConcept) if isinstance(value, dict) else None
    except msgspec.ValidationError:
        return None


def _words(concept: CodeableConcept | None) -> str:
    if concept is None:
        return ""
    return concept.text or next((c.display for c in concept.coding or () if c.display), "") or ""


def _start(period: Any) -> Any:
    return period.get("start") if isinstance(period, dict) else None


def _end(period: Any) -> Any:
    return period.get("end") if isinstance(period, dict) else None


def _has_code(concepts: Any, code: str) -> bool:
    """True when one of several CodeableConcepts, decoded as plain JSON, has a code."""
    return any(
        isinstance(coding, dict) and coding.get("code") == code
        for concept in _listed(concepts)
        if isinstance(concept, dict)
        for coding in _listed(concept.get("coding"))
    )


def _speaks_up(drug: str) -> bool:
    """Whether a drug is clozapine or raises a finding of its own beside it."""
    return drug == CLOZAPINE or bool(alerting_classes_of(drug))


def _amounts_of(record: Medication) -> frozenset[float]:
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


def _names_a_product(r: MedicationRequest) -> bool:
    """An order by reference alone, or by a code of the client's own; an order being composed names nothing yet."""
    reference, concept = r.medicationReference, r.medicationCodeableConcept
    if reference is not None and reference.reference:
        return True
    codings = (concept.coding or ()) if concept is not None else ()
    return any(c.code and canonical(c.system or "") not in DRUG_SYSTEMS for c in codings)


def _id_in(selection: str) -> str:
    """The id in a selection: ``MedicationRequest/1``, with a server or a version, ``urn:uuid:…`` or the bare id."""
    return read_reference(selection).id or selection.strip().rpartition("/")[2]


def _names_one(selection: str, drafts: Collection[tuple[str, str | None]]) -> bool:
    """Whether it names one of the drafts (type, id). Orders of drugs have several names; any other type must be the draft's own."""
    named = read_reference(selection)
    drug = _may_name_a_medication(selection)
    return any(_id_in(selection) == id and (drug or named.type == type_name) for type_name, id in drafts)


def _may_name_a_medication(selection: str) -> bool:
    """False for what names a resource of a type that orders no drug; of what is no reference nobody knows."""
    return read_reference(selection).type not in NAMES_NO_DRUG


def _may_be_read(selection: str) -> bool:
    """False for what names an order of a kind that is none of this service's business: nutrition, devices, glasses."""
    return _may_name_a_medication(selection) or read_reference(selection).type == "ServiceRequest"


def _code(concept: CodeableConcept | None) -> str:
    """Code of a status: HL7's own before a local one, else its text."""
    if concept is None:
        return ""
    codings = [c for c in concept.coding or () if c.code]
    own = next((c.code for c in codings if (c.system or "").startswith(_HL7)), None)
    return to_show(own or next((c.code for c in codings), None) or concept.text or "")


def build(
    *,
    patient_id: str,
    hook: str,
    zone: tzinfo,
    gathered: Gathered,
    orders: Raw | None = None,
    selections: Sequence[str] | None = None,
    maps: SiteMaps = NO_MAPS,
    in_words: bool = False,
) -> PatientSnapshot:
    """The snapshot of one call.

    Args:
        patient_id: the patient in context; nobody else's resources are believed.
        hook: name of the hook.
        zone: the site's time zone.
        gathered: what prefetch and the FHIR server gave.
        orders: the orders of the hook's context (Bundle or one MedicationRequest), as sent.
        selections: order-select: the ids of the newly selected orders; None on other hooks.
        maps: the site's own codes and units.
        in_words: the ledger holds an entry for everything, not only the sums.
    """
    books = Books(in_words=in_words)
    decoded_orders = read_orders(orders, DRAFTS) if orders is not None and len(orders) else Decoded([], [])
    home = home_of(gathered, decoded_orders.resources, patient_id)
    everything: list[Resource] = [r for data in gathered.sources.values() for r in data.resources]
    builder = _Builder(Whose(patient_id, home, everything), zone, maps, gathered.failed, books)
    books.take(decoded_orders.aside)
    for product in gathered.products:
        books.give()
        books.read("products", product)
    # Medication resources travel with the records that refer to them, never with results.
    beside_records: tuple[Sequence[Resource], ...] = (
        decoded_orders.resources,
        gathered.products,
        *(d.resources for s, d in gathered.sources.items() if s not in _RESULTS),
    )
    products: Mapping[str, MedicationResource] = {
        key: r
        for resources in beside_records
        for r in resources
        if type(r) is MedicationResource
        for key in home.keys_of("Medication", r.id, r.full_url)
    }
    builder.medication_reader.products.update(products)
    for source, data in gathered.sources.items():
        builder.problems += data.problems
        books.take(data.aside)
        try:
            builder.take(source, data.resources)
        except Exception as error:  # as for a resource: a source that cannot be read costs itself
            builder.problems.append(source_left_out(source, error))
            builder.spoilt.add(source)
            books.balance(source, builder.problems[-1].reason)
    builder.observations.close()
    try:
        builder.take_drafts(decoded_orders, selections)
    except Exception as error:
        builder.problems.append(source_left_out(DRAFTS, error))
        books.balance(DRAFTS, builder.problems[-1].reason)
    states: dict[str, SourceState] = {source: data.state for source, data in gathered.sources.items()}
    for source in builder.spoilt | builder.observations.spoilt:
        if states.get(source) == "complete":
            states[source] = "incomplete"
    patient = builder.patient
    return PatientSnapshot(
        patient_id=patient_id,
        hook=hook,
        zone=zone,
        sex=(patient.gender or "") if patient else "",
        birth_date=read_date(patient.birthDate) if patient else None,
        deceased=patient is not None and (patient.deceasedBoolean is True or bool(patient.deceasedDateTime)),
        drafts=tuple(builder.drafts),
        medications=with_lengths(builder.medications.values(), builder.drafts, zone),
        test_orders=tuple(builder.tests),
        measurements={kind: tuple(values) for kind, values in builder.observations.measurements.items()},
        unusable=tuple(builder.observations.unusable),
        coded=tuple(builder.observations.coded),
        problems=tuple(builder.conditions.values()),
        allergies=tuple(builder.allergies.values()),
        sources=states,
        read_problems=(
            *builder.problems,
            *builder.medication_reader.problems,
            *builder.observations.problems,
        ),
        ledger=books.closed(),
    )
