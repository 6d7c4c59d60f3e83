"""Medication records to facts (clinical.md 3.4): which drug, by code, by resource, by name, and when it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from service.alerts.case.exposure import CARRIED_OUT, ORDER_LIVE, OVER, STATEMENT_LIVE
from service.alerts.case.supply_length import LONGEST_SUPPLY, lasts
from service.alerts.facts.patient import NAMES_NO_PRODUCT, MatchedBy, Medication, ReadProblem
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import NAME, NOTHING, RecordText, to_read, to_show
from service.alerts.knowledge.classes import has_class
from service.alerts.knowledge.code_systems import PRODUCT_SYSTEMS, canonical
from service.alerts.knowledge.drug_names import drugs_by_name, is_long_acting
from service.alerts.knowledge.no_card import is_code_without_card, is_known_without_card
from service.alerts.knowledge.products import product_by_code
from service.fhir.absence import is_on_leave
from service.fhir.dosage import amount_mg
from service.fhir.given import given_mg, nothing_given
from service.fhir.numbers import finite
from service.fhir.references import Home, read_reference
from service.fhir.resources import (
    CodeableConcept,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Quantity,
    Reference,
    Resource,
)
from service.fhir.resources import Medication as MedicationResource
from service.fhir.routes import is_parenteral, product_reaches, route_reaches
from service.fhir.sig import Sig, dose_of, sig_of
from service.fhir.strength import BY_CODE, Strength, agreed, strength_in_name, strength_of_ratio
from service.fhir.subjects import subject_of
from service.fhir.times import Moment, is_for_ever, is_of_a_year, last_day, read_moment

#: Code systems whose codes identify a product, even one this service has no rule for.
DRUG_SYSTEMS = frozenset(PRODUCT_SYSTEMS)
_INPATIENT = {
    "inpatient": "inpatient",
    "outpatient": "outpatient",
    "community": "community",
    "discharge": "discharge",
}
CLOZAPINE = "clozapine"
_AT_THE_PHARMACY = frozenset({"in-progress", "on-hold"})
_STOPPING = frozenset({"stopped", "cancelled", "ended"})
#: Intents by which nobody has ordered anything yet.
#: More repeats than any prescription has: a number nobody meant as one.
_MOST_REPEATS = 99
_PROPOSED = frozenset({"proposal", "option"})
_DAYS = {
    "d": 1.0,
    "day": 1.0,
    "days": 1.0,
    "wk": 7.0,
    "week": 7.0,
    "weeks": 7.0,
    "mo": 30.0,
    "month": 30.0,
    "months": 30.0,
    "h": 1 / 24,
}


class _Unread(NamedTuple):
    """A name that is too long to be read: its beginning, for people."""

    beginning: RecordText


_Name = str | _Unread
#: Codings (system, code, display) and text of a CodeableConcept.
_Concept = tuple[tuple[tuple[str, str, _Name], ...], _Name]
_Concepts = tuple[_Concept, ...]
_NO_STRENGTH = Strength()


UNREAD_NAME = because("unread.medication-name-too-long", most=NAME)
_NOT_SENT = because("product.not-sent")
_UNREAD_REASON = because("unread.reason-too-long", most=NAME)


def _name(text: str | None) -> _Name:
    """A name to look up: as sent, for it is tidied where it is looked up for the first time; of one that is too long, its beginning."""
    if text is None or len(text) <= NAME:
        return text or ""
    return to_read(text, NAME) or _Unread(to_show(text, NAME))


def _key_of(concept: CodeableConcept) -> _Concept:
    codings = [(c.system or "", c.code or "", c.display or "") for c in concept.coding or ()]
    text = concept.text or ""
    length = len(text)
    for system, code, display in codings:
        length += len(system) + len(code) + len(display)
    if length <= NAME:
        return tuple(codings), text
    # Codes are looked up as they are: what is longer than a name is none.
    return tuple([(s[:NAME], c[:NAME], _name(d)) for s, c, d in codings]), _name(text)


class Identified(Struct, frozen=True):
    """What a medication turned out to be."""

    drugs: tuple[str, ...]
    label: RecordText
    matched_by: MatchedBy
    strength: Strength
    systemic: bool
    parenteral: bool
    long_acting: bool
    #: A name is too long to be read, and no code says what it is.
    unread: bool = False
    #: Drugs that its codes and words name instead of each other; empty where they agree.
    instead: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def _dose_matters(drugs: tuple[str, ...]) -> bool:
    """Doses are read of clozapine, of the antipsychotics that count as trials, and of the inhibitors to whose dose that of clozapine is adjusted."""
    return CLOZAPINE in drugs or any(
        has_class(drug, class_id)
        for drug in drugs
        for class_id in ("antipsychotic", "cyp1a2-strong-inhibitor")
    )


#: Stands for a whole group of drugs: beside one of them it is no other drug.
_OF_A_GROUP = frozenset({"cytotoxic"})
#: A drug that is known and draws no card, where it is named in the place of one that does.
_ANOTHER = "another drug"


def _named_by(system: str, code: str, words: Iterable[_Name], country: str) -> frozenset[str]:
    """What a code and the words beside it name: drugs, or that it is one without a card."""
    known = product_by_code(system, code) if code else None
    texts = [tidy for word in words if isinstance(word, str) and (tidy := to_read(word, NAME))]
    drugs = {
        *(known.drugs if known is not None else ()),
        *(d for t in texts for d in drugs_by_name(t, country)),
    }
    if drugs:
        return frozenset(drugs - _OF_A_GROUP)
    harmless = any(map(is_known_without_card, texts)) or (bool(code) and is_code_without_card(system, code))
    return frozenset({_ANOTHER}) if harmless else frozenset()


def _instead(concepts: _Concepts, names: tuple[_Name, ...], country: str) -> tuple[str, ...]:
    """Drugs that one code or text of a medication names where another names others: codes and text of one concept, and the name in a reference.

    Ingredients stand beside each other; a look-alike (clonazepam by code, clozapine in words) in the place of each other.
    """
    said: list[frozenset[str]] = []
    for codings, text in concepts:
        own = [_named_by(system, code, (display,), country) for system, code, display in codings]
        own.append(_named_by("", "", (text,), country))
        if (odd := _apart(own)) is not None:
            return odd
        said.append(frozenset[str]().union(*own))
    everything = frozenset[str]().union(*said)
    called = [_named_by("", "", (name,), country) for name in names[:1]]
    return (_apart([everything, *called]) if everything and called else None) or ()


def _apart(said: Iterable[frozenset[str]]) -> tuple[str, ...] | None:
    """The drugs of two voices that have none in common; a harmless one is another drug only where clozapine is named."""
    voices = list(dict.fromkeys(voice for voice in said if voice))  # those that say the same are one
    for index, one in enumerate(voices):
        for other in voices[index + 1 :]:
            both = one | other
            if one.isdisjoint(other) and (_ANOTHER not in both or CLOZAPINE in both):
                return tuple(sorted(both, key=lambda drug: (drug == _ANOTHER, drug)))
    return None


@lru_cache(maxsize=4096)
def _identify(
    concepts: _Concepts, names: tuple[_Name, ...], strength: Strength, country: str = ""
) -> Identified:
    """Codes first, then names; every ingredient. The same product comes in call after call, hence the cache."""
    drugs: list[str] = []
    by_code = False
    given: list[_Name] = list(names)
    stated = [strength]
    for codings, text in concepts:
        for system, code, display in codings:
            known = product_by_code(system, code) if code else None
            if known is not None:
                drugs += known.drugs
                by_code = True
                if known.mg is not None:
                    stated.append(Strength(mg_per_unit=known.mg, read_from=BY_CODE))
                if known.named:
                    given.append(known.label)
            if display:
                given.append(display)
        if text:
            given.append(text)
    shown: _Name = next((text for _, text in concepts if text), "") or next(iter(given), "")
    label = to_show(shown.beginning if isinstance(shown, _Unread) else shown)
    beginnings = [name.beginning for name in given if isinstance(name, _Unread)]
    all_names = [tidy for name in given if isinstance(name, str) and (tidy := to_read(name, NAME))]
    # A drug named at the beginning of what is too long to be read is taken at its word; strength and form are not.
    for name in (*all_names, *(beginning.rpartition(" ")[0] for beginning in beginnings)):
        drugs += [d for d in drugs_by_name(name, country) if d not in drugs]
    strength = agreed((*stated, *map(strength_in_name, all_names)))
    # A code that nothing explains identifies nothing, however well known its system is: the name beside it may be a brand.
    named = (
        bool(drugs)
        or any(map(is_known_without_card, all_names))
        or any(is_code_without_card(system, code) for codings, _ in concepts for system, code, _ in codings)
    )
    matched: MatchedBy = "code" if by_code else "name" if named else "none"
    words = " ".join(all_names)
    found = tuple(dict.fromkeys(drugs))
    if not label:  # a code without words: people see the drug that it stands for, else the code
        label = (
            to_show(" + ".join(d.replace("-", " ") for d in found)) if found else _code_for_people(concepts)
        )
    return Identified(
        found,
        label,
        matched,
        strength,
        product_reaches(words, found),
        is_parenteral(words),
        is_long_acting(words),
        unread=bool(beginnings) and not by_code,
        instead=_instead(concepts, names, country) if found else (),
    )


def _code_for_people(concepts: _Concepts) -> RecordText:
    """The code of a product that nothing names, so that it can be named where it is not recognised; empty without one of a known system."""
    for codings, _ in concepts:
        for system, code, _ in codings:
            if code.strip() and (known := PRODUCT_SYSTEMS.get(canonical(system))) is not None:
                return to_show(f"{known} {code.strip()}")
    return NOTHING


def forget_identified() -> None:
    """Codes have become known or unknown: identify anew."""
    _identify.cache_clear()


def route_facts(route: str, found: Identified) -> tuple[bool, bool]:
    """(reaches the circulation, by injection): a stated route decides, else the product."""
    if not route:
        return found.systemic, found.parenteral
    reaches = route_reaches(route, found.drugs)
    return found.systemic if reaches is None else reaches, found.parenteral or is_parenteral(route)


class MedicationReader:
    """Reads medication records of one patient.

    Args:
        zone: the site's time zone.
        products: Medication resources by what they are called here (``Home.keys_of``), from the Bundles or fetched.
        local_codes: (system, code) -> drug id, from the site's configuration.
        home: which servers are the EHR's own.
        failed: product (``Home.key``) -> why it could not be fetched.
        country: where the site is (ISO 3166), for brands that mean another drug elsewhere.
    """

    def __init__(
        self,
        zone: tzinfo,
        products: Mapping[str, MedicationResource] | None = None,
        local_codes: Mapping[tuple[str, str], str] | None = None,
        home: Home | None = None,
        failed: Mapping[str, Reason] | None = None,
        country: str = "",
    ) -> None:
        self.zone = zone
        self.country = country
        self.products = dict(products or {})
        self.local_codes = local_codes or {}
        self.home = home if home is not None else Home()
        self.failed = failed or {}
        self.problems: list[ReadProblem] = []
        #: References to Medication resources that are nowhere to be found, and why.
        self.unresolved: dict[str, Reason] = {}
        #: Records of which a name was too long to be read.
        self.unread_names = 0
        #: Drugs that the codes and words of the last record name instead of each other.
        self.instead: tuple[str, ...] = ()

    # -- which drug ---------------------------------------------------------------------------------------------

    def identify(
        self,
        concept: CodeableConcept | None,
        reference: Reference | None,
        contained: list[Any] | None,
        record: Resource | None = None,
    ) -> Identified:
        """The drug of a record: codes first, then names; every ingredient."""
        if reference is None and concept is not None:
            return self._identified((_key_of(concept),), (), _NO_STRENGTH)
        concepts = [concept] if concept is not None else []
        names: list[_Name] = []
        strength = _NO_STRENGTH
        if reference is not None:
            if reference.display:
                names.append(_name(reference.display))
            product = self._product(reference, contained, record)
            if product is not None:
                if product.code is not None:
                    concepts.append(product.code)
                if product.form is not None:
                    names += [
                        _name(t)
                        for t in (product.form.text, *(c.display for c in product.form.coding or ()))
                        if t
                    ]
                for ingredient in product.ingredient or ():
                    if ingredient.itemCodeableConcept is not None:
                        concepts.append(ingredient.itemCodeableConcept)
                if len(product.ingredient or ()) == 1:
                    strength = strength_of_ratio((product.ingredient or [])[0].strength)
        return self._identified(tuple(map(_key_of, concepts)), tuple(names), strength)

    def _identified(self, concepts: _Concepts, names: tuple[_Name, ...], strength: Strength) -> Identified:
        found = _identify(concepts, names, strength, self.country)
        self.instead = found.instead
        if not self.local_codes:
            self.unread_names += found.unread
            return found
        local = [
            drug
            for codings, _ in concepts
            for system, code, _ in codings
            if (drug := self.local_codes.get((system, code)))
        ]
        if not local:
            self.unread_names += found.unread
            return found
        drugs = tuple(dict.fromkeys([*local, *found.drugs]))
        return Identified(
            drugs, found.label, "code", found.strength, found.systemic, found.parenteral, found.long_acting
        )

    def _product(
        self, reference: Reference, contained: list[Any] | None, record: Resource | None
    ) -> MedicationResource | None:
        """The product that a record refers to; where there is none, ``unresolved`` says why."""
        text = reference.reference
        if not text:
            return None
        target = read_reference(text)
        if target.form == "contained":
            found = _contained(target.id, contained)
            if found is None:
                self.unresolved[text] = because("product.contained-missing")
            return found
        same = ""
        if target.form == "absolute" and not self.home.own and record is not None:
            # The server of the record's own patient is the record's own server.
            subject = subject_of(record)
            same = read_reference(subject.reference).base if subject is not None else ""
        holder = record.full_url if record is not None else None
        product = self.home.find(self.products, text, holder=holder, same=same)
        if product is None:
            key = self.home.key(text, holder=holder, same=same)
            # The tail of a foreign address is its server's business and is not repeated.
            foreign = target.form == "absolute" and key == target.text
            self.unresolved[text] = self.failed.get(key) or (
                because("product.elsewhere") if foreign else _NOT_SENT
            )
        return product

    def unread(
        self,
        found: Identified,
        concept: CodeableConcept | None,
        reference: Reference | None,
        contained: list[Any] | None,
        record: Resource | None = None,
    ) -> Reason:
        """Why nobody can tell what a record's drug is; empty when a code or a usable name tells, be it of a drug without rules."""
        if found.drugs or found.matched_by != "none":
            return NO_REASON
        concepts = [concept] if concept is not None else []
        why = NAMES_NO_PRODUCT
        if reference is not None:
            if (reference.display or "").strip():
                return NO_REASON
            product = self._product(reference, contained, record)
            if product is not None:
                concepts += [c for c in (product.code, *_ingredients(product)) if c is not None]
                why = because("product.unnamed")
            elif reference.reference:
                why = self.unresolved.get(reference.reference, _NOT_SENT)
            elif len(reference.identifier):
                why = because("product.number-only")
        told = any(
            to_read(_words(c), NAME) != NOTHING
            or any(
                x.code and x.code.strip() and canonical(x.system or "") in DRUG_SYSTEMS
                for x in c.coding or ()
            )
            for c in concepts
        )
        if told:
            return NO_REASON
        if reference is None and any(c.code for x in concepts for c in x.coding or ()):
            return because("product.own-code")
        return why

    # -- records ------------------------------------------------------------------------------------------------

    def request(
        self, r: MedicationRequest, source: str, *, draft: bool = False, selected: bool = True
    ) -> Medication:
        """A MedicationRequest, as an order or as a draft of this call."""
        named = (r.medicationCodeableConcept, r.medicationReference, r.contained, r)
        found = self.identify(*named)
        ref = f"MedicationRequest/{r.id}" if r.id else ""
        sig = sig_of(r.dosageInstruction)
        start, end = self._order_period(r, sig, ref, source)
        end_at = end.at if end else None
        if end is None and start is not None and not draft and CLOZAPINE not in found.drugs:
            length = sig.length
            if length is None and sig.until_finished and r.dispenseRequest is not None:
                supplied = _days(_get(r.dispenseRequest, "expectedSupplyDuration"))
                length = timedelta(days=supplied) if supplied else None
            # A course of another drug is over when its days are, unless it may be dispensed again; of one that began in some month or year,
            # when they are even if it began on the last day of it.
            if length is not None and not _repeats(r.dispenseRequest):
                end_at = (start.until or start.at) + length
        route = sig.route
        systemic, parenteral = route_facts(route, found)
        # Only some doses are ever asked for.
        asked = draft or not found.label or _dose_matters(found.drugs)
        dose = dose_of(r.dosageInstruction, found.strength, draft=draft) if asked else None
        supply = None
        if r.dispenseRequest is not None:
            supply = _days(_get(r.dispenseRequest, "expectedSupplyDuration"))
        if supply is None and draft and dose is not None and r.dispenseRequest is not None:
            supply = lasts(amount_mg(_get(r.dispenseRequest, "quantity"), found.strength), dose)
        clozapine = CLOZAPINE in found.drugs
        updated = self._updated(r.meta) if len(r.meta) and not draft and r.status not in ORDER_LIVE else None
        if not draft and _is_of_no_day(clozapine, r.status, (start, end_at, updated)):
            self._undated(source, ref, because("unread.clozapine-not-taken"))
        stop_reason = to_read(_words(r.statusReason), NAME)
        return Medication(
            ref=ref,
            role="draft" if draft else "order",
            drugs=found.drugs,
            label=found.label,
            matched_by=found.matched_by,
            unread=self.unread(found, *named) if not found.drugs else NO_REASON,
            status=r.status or ("draft" if draft else ""),
            intent=r.intent or "order",
            systemic=systemic,
            route=route,
            parenteral=parenteral,
            long_acting=found.long_acting,
            start=start.at if start else None,
            start_date_only=start.date_only if start else False,
            start_until=start.until if start else None,
            end=end_at,
            end_date_only=end.date_only if end else False,
            authored=start.at if start else None,
            dose=dose,
            days_supply=supply,
            repeats=_repeats(r.dispenseRequest) if supply and not draft and r.status not in ORDER_LIVE else 0,
            # An order not to give a drug was never a treatment, whatever became of that order.
            not_taken=r.doNotPerform is True and not draft,
            # A draft that puts the order on hold stops it for now.
            stops=r.status in _STOPPING or r.doNotPerform is True or (draft and r.status == "on-hold"),
            stop_reason=stop_reason or NOTHING,
            stop_reason_unread=_UNREAD_REASON if stop_reason is None else NO_REASON,
            replaces=self._replaced(r) if r.priorPrescription is not None or r.basedOn else (),
            selected=selected,
            setting=_setting(r.category) if r.category is not None else "",
            based_on=self._named_by(r.basedOn, r) if r.basedOn else (),
            identifiers=_identifiers(r.identifier) if clozapine and len(r.identifier) else (),
            strength_mg=found.strength.mg_per_unit if draft and clozapine else None,
            valid_until=self._valid_until(r.dispenseRequest) if r.dispenseRequest is not None else None,
            updated=updated,
        )

    def _updated(self, meta: Raw) -> datetime | None:
        """When a record that is over was last changed (``meta.lastUpdated``)."""
        try:
            moment = read_moment(_meta.decode(meta).lastUpdated, self.zone)
        except msgspec.DecodeError:
            return None
        return moment.at if moment is not None else None

    def _valid_until(self, request: Any) -> datetime | None:
        """When an order may no longer be dispensed (``dispenseRequest.validityPeriod.end``)."""
        end = _get(_get(request, "validityPeriod"), "end")
        moment = None if end is None or is_for_ever(end) else read_moment(end, self.zone)
        return moment.at if moment is not None else None

    def _replaced(self, r: MedicationRequest) -> tuple[str, ...]:
        """Orders that this one replaces or carries out, as :attr:`Medication.ref` names them; one of another server names none here."""
        carried_out = (r.basedOn or ()) if r.intent in CARRIED_OUT else ()
        return self._named_by((r.priorPrescription, *carried_out), r)

    def _named_by(self, linked: Iterable[Reference | None], holder: Resource) -> tuple[str, ...]:
        """Records that references name, as :attr:`Medication.ref` does."""
        texts = (x.reference for x in linked if x is not None)
        return tuple(key for x in texts if (key := self.home.key(x, holder=holder.full_url)))

    def ordered(self, r: MedicationRequest, source: str) -> Medication | None:
        """A MedicationRequest of the record; None when it orders nothing: a draft, a mistake, a proposal, a mere plan of clozapine.

        EHRs record what patients say they take as a plan, too; those say so (``reported[x]``).
        """
        if r.status in ("entered-in-error", "draft") or r.intent in _PROPOSED:
            return None
        record = self.request(r, source)
        reported = r.reportedBoolean is True or r.reportedReference is not None
        return None if r.intent == "plan" and not reported and CLOZAPINE in record.drugs else record

    def statement(self, s: MedicationStatement, source: str) -> Medication:
        """A MedicationStatement."""
        named = (s.medicationCodeableConcept, s.medicationReference, s.contained, s)
        found = self.identify(*named)
        ref = f"MedicationStatement/{s.id}" if s.id else ""
        period = s.effectivePeriod
        # “Not taken” is said of the day it is said on, when no other is given.
        said = s.dateAsserted if s.status == "not-taken" and period is None else None
        start = self._read(period.start if period else s.effectiveDateTime or said, ref, "effective", source)
        asserted = read_moment(s.dateAsserted, self.zone)
        last = period.end if period and not is_for_ever(period.end) else None
        end = self._read(last, ref, "effectivePeriod.end", source)
        if s.status in STATEMENT_LIVE:
            end = last_day(end)
        elif end is not None and end.until is not None and CLOZAPINE in found.drugs:
            self._undated(source, ref, because("unread.clozapine-no-end"))
        updated = self._updated(s.meta) if s.status not in STATEMENT_LIVE and len(s.meta) else None
        if _is_of_no_day(CLOZAPINE in found.drugs, s.status, (start, end, asserted, updated)):
            self._undated(source, ref, because("unread.clozapine-not-taken"))
        systemic, parenteral = route_facts(sig_of(s.dosage).route, found)
        return Medication(
            ref=ref,
            role="statement",
            drugs=found.drugs,
            label=found.label,
            matched_by=found.matched_by,
            unread=self.unread(found, *named) if not found.drugs else NO_REASON,
            status=s.status or "",
            systemic=systemic,
            parenteral=parenteral,
            long_acting=found.long_acting,
            start=start.at if start else None,
            start_date_only=start.date_only if start else False,
            start_until=start.until if start else None,
            end=end.at if end else None,
            end_date_only=end.date_only if end else False,
            authored=asserted.at if asserted else None,
            dose=dose_of(s.dosage, found.strength) if len(s.dosage) and _dose_matters(found.drugs) else None,
            not_taken=s.status == "not-taken",
            stops=s.status == "stopped" and end is None,
            of_a_moment=s.status == "not-taken" and (period is None or period.start is None),
            updated=updated,
        )

    def dispense(self, d: MedicationDispense, source: str) -> Medication:
        """A MedicationDispense."""
        named = (d.medicationCodeableConcept, d.medicationReference, d.contained, d)
        found = self.identify(*named)
        ref = f"MedicationDispense/{d.id}" if d.id else ""
        # What is only prepared lies at the pharmacy as long as the dispense is not completed.
        prepared = d.whenPrepared if d.status not in _AT_THE_PHARMACY else None
        start = self._read(d.whenHandedOver or prepared, ref, "whenHandedOver", source)
        if start is not None and is_of_a_year(start):
            start = None
        if start is None and prepared is None and d.whenPrepared is None and CLOZAPINE in found.drugs:
            self._undated(source, ref, because("unread.clozapine-no-hand-over"))
        dose = (
            dose_of(d.dosageInstruction, found.strength)
            if len(d.dosageInstruction) and CLOZAPINE in found.drugs
            else None
        )
        systemic, parenteral = route_facts(sig_of(d.dosageInstruction).route, found)
        return Medication(
            ref=ref,
            role="dispense",
            drugs=found.drugs,
            label=found.label,
            matched_by=found.matched_by,
            unread=self.unread(found, *named) if not found.drugs else NO_REASON,
            status=d.status or "",
            systemic=systemic,
            parenteral=parenteral,
            long_acting=found.long_acting,
            start=start.at if start else None,
            start_date_only=start.date_only if start else False,
            start_until=start.until if start else None,
            dose=dose,
            days_supply=_days(d.daysSupply),
            amount_mg=_handed_over_mg(d, found),
            fills=self._named_by(d.authorizingPrescription, d) if d.authorizingPrescription else (),
        )

    def administration(self, a: MedicationAdministration, source: str) -> Medication:
        """A MedicationAdministration."""
        named = (a.medicationCodeableConcept, a.medicationReference, a.contained, a)
        found = self.identify(*named)
        ref = f"MedicationAdministration/{a.id}" if a.id else ""
        period = a.effectivePeriod or a.occurencePeriod
        text = a.effectiveDateTime or a.occurenceDateTime or (period.end or period.start if period else None)
        start = self._read(text, ref, "effective", source)
        if start is None or start.until is not None:
            start = None  # of a dose a month is no time
            if CLOZAPINE in found.drugs:
                self._undated(source, ref, because("unread.clozapine-no-day"))
        systemic, parenteral = route_facts(sig_of(a.dosage).route, found)
        return Medication(
            ref=ref,
            role="administration",
            drugs=found.drugs,
            label=found.label,
            matched_by=found.matched_by,
            unread=self.unread(found, *named) if not found.drugs else NO_REASON,
            status=a.status or "",
            systemic=systemic,
            parenteral=parenteral,
            long_acting=found.long_acting,
            start=start.at if start else None,
            start_date_only=start.date_only if start else False,
            not_taken=a.status == "not-done" or nothing_given(a),
            on_leave=a.status == "not-done" and is_on_leave(a.statusReason),
            # Of other drugs only what a depot gives is asked for: its dose stands in no order that says how often.
            amount_mg=given_mg(a, found.strength) if CLOZAPINE in found.drugs or found.long_acting else None,
        )

    def _read(self, text: str | None, ref: str, element: str, source: str) -> Moment | None:
        """A date; one that does not exist is reported."""
        moment = read_moment(text, self.zone)
        if moment is None and text is not None:
            self.problems.append(ReadProblem(source, ref, because("unread.no-such-date", element=element)))
        return moment

    def _undated(self, source: str, ref: str, why: Reason) -> None:
        """Note that a record of clozapine tells of no day. It may be years old: by itself it is no hint that clozapine is taken."""
        self.problems.append(ReadProblem(source, ref, why, if_not_known=True))

    def _order_period(
        self, r: MedicationRequest, sig: Sig, ref: str, source: str
    ) -> tuple[Moment | None, Moment | None]:
        """When an order runs: bounds of its timing, else from its authoring on."""
        authored = self._read(r.authoredOn, ref, "authoredOn", source)
        if not sig.is_bounded:
            return authored, None
        starts = [m for bound in sig.bounds if bound and (m := read_moment(bound[0], self.zone)) is not None]
        ends = [last_day(read_moment(bound[1], self.zone)) if bound else None for bound in sig.bounds]
        known_ends = [e for e in ends if e is not None]
        # One open-ended instruction keeps the order open.
        end = max(known_ends) if len(known_ends) == len(ends) else None
        return (min(starts) if starts else authored), end


def _is_of_no_day(clozapine: bool, status: str | None, days: Iterable[object]) -> bool:
    """A record of clozapine that is over and names no day at all: nobody knows when that was."""
    return clozapine and status in OVER and all(day is None for day in days)


def _contained(identifier: str, contained: list[Any] | None) -> MedicationResource | None:
    """The Medication of that name inside a record."""
    for item in contained or ():
        if (
            isinstance(item, dict)
            and str(item.get("id") or "").removeprefix("#") == identifier
            and item.get("resourceType") == "Medication"
        ):
            try:
                return msgspec.convert(item, MedicationResource)
            except msgspec.ValidationError:
                return None
    return None


def _ingredients(product: MedicationResource) -> list[CodeableConcept]:
    return [i.itemCodeableConcept for i in product.ingredient or () if i.itemCodeableConcept is not None]


def _handed_over_mg(d: MedicationDispense, found: Identified) -> float | None:
    """mg of clozapine that was handed over; None when it cannot be read."""
    if d.quantity is None or CLOZAPINE not in found.drugs:
        return None
    quantity = {"value": d.quantity.value, "code": d.quantity.code, "unit": d.quantity.unit}
    return amount_mg(quantity, found.strength)


class _Meta(Struct):
    """``Resource.meta``."""

    lastUpdated: Any = None


class _Identifier(Struct):
    """``MedicationRequest.identifier``."""

    system: Any = None
    value: Any = None


_meta = msgspec.json.Decoder(_Meta)
_identifiers_of = msgspec.json.Decoder(list[_Identifier])


def _identifiers(sent: Raw) -> tuple[str, ...]:
    """Business identifiers as ``system|value``; one without a system is unique to nobody knows whom."""
    try:
        found = _identifiers_of.decode(sent)
    except msgspec.DecodeError:
        return ()
    return tuple(f"{i.system}|{i.value}" for i in found if i.system and i.value)


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _words(concept: CodeableConcept | None) -> str:
    """A concept in words, as sent."""
    if concept is None:
        return ""
    return concept.text or next((c.display for c in concept.coding or () if c.display), "") or ""


def _lifelong(days: float) -> float | None:
    """Days of a supply; None for more than any life has, with which no calendar can count."""
    return days if days <= LONGEST_SUPPLY else None


def _repeats(request: Any) -> int:
    """How often an order may be dispensed again (``numberOfRepeatsAllowed``)."""
    allowed = _get(request, "numberOfRepeatsAllowed")
    return min(allowed, _MOST_REPEATS) if isinstance(allowed, int) and allowed > 0 else 0


def _days(duration: Any) -> float | None:
    """Days of a Duration or Quantity, as a Struct or as decoded JSON."""
    if isinstance(duration, Quantity):
        value, unit = duration.value, duration.code or duration.unit
    elif isinstance(duration, dict):
        value, unit = duration.get("value"), duration.get("code") or duration.get("unit")
    else:
        return None
    length = finite(value)
    if length is None or length < 0:
        return None
    factor = _DAYS.get(str(unit or "d").lower())
    return _lifelong(length * factor) if factor is not None else None


def _setting(category: Any) -> str:
    for concept in category if isinstance(category, list) else [category]:
        codings = _get(concept, "coding")
        for coding in codings if isinstance(codings, list) else ():
            code = _get(coding, "code")
            if isinstance(code, str) and code in _INPATIENT:
                return code
    return ""
