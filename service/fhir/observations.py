"""Observations to facts (clinical.md 3.1–3.3): classified by code first, so that what no rule asks for costs next to nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from functools import lru_cache, reduce
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts.patient import (
    NO_VALUE,
    CodedResult,
    Measurement,
    ReadProblem,
    ResultStatus,
    UnusableResult,
)
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import NOTHING, VALUE, RecordText, to_read, to_show
from service.alerts.knowledge.codes import (
    LOINC,
    Kind,
    kinds,
    kinds_by_loinc,
)
from service.fhir.answers import answer_of, text_of
from service.fhir.code_fates import is_of_a_terminology
from service.fhir.decode import left_out, read_one
from service.fhir.flags import flag_of, is_positive
from service.fhir.ledger import Books, ref_of
from service.fhir.loinc import is_loinc
from service.fhir.modifiers import MODIFIED, is_modified
from service.fhir.named_tests import by_words
from service.fhir.numbers import LARGEST
from service.fhir.other_values import other_value, quantity_of, why_absent
from service.fhir.posture import posture_of
from service.fhir.ranges import upper_limit
from service.fhir.references import Home
from service.fhir.resources import (
    CodeableConcept,
    Component,
    DiagnosticReport,
    Observation,
    Quantity,
    Reference,
    Resource,
    Specimen,
)
from service.fhir.subjects import Whose
from service.fhir.times import NO_YEARS, Moment, read_moment, read_stretch
from service.fhir.units import agreed_conversion, is_part_of_a_cell, split_text
from service.fhir.without_results import LONG_AGO, Holder, has_results, holder_of

_STATUS: dict[str | None, ResultStatus] = {
    "final": "final",
    "amended": "corrected",
    "corrected": "corrected",
    "preliminary": "preliminary",
}
#: No result, or none any more (R4 observation-status). Of ``unknown``, and of words that are none of FHIR's, nobody knows whether the
#: result holds: it is never used (clinical.md 3.1), and shown.
_NO_RESULT = frozenset({"registered", "cancelled", "entered-in-error"})
_COMPARATORS: dict[str, Literal["<", ">"]] = {"<": "<", "<=": "<", ">": ">", ">=": ">"}
#: Kinds whose own reference range is asked for.
_RANGED = frozenset({"troponin", "crp", "alt", "ast", "bilirubin"})
#: Kinds for which the posture matters.
_POSTURED = frozenset({"systolic", "diastolic"})
#: Units as laboratories write them are far shorter; nothing longer is remembered.
_LONGEST_UNIT = 60
#: Parts of one result, and results inside one report or panel: more are none, and are not read.
_MOST_COMPONENTS = 200
_MOST_CONTAINED = 1000
_NOT_PLAIN = _RANGED | _POSTURED
_COUNTED = frozenset({"anc", "wbc"})
_instant = datetime.fromisoformat


class _Plain(Struct, frozen=True, gc=False):
    """A number with a unit, as a value of its kind."""

    kind: str
    value: float
    #: As sent, for people.
    raw: RecordText


@lru_cache(maxsize=16_384)
def _plain(loinc: str, value: float | int | str | None, unit: str | None, code: str | None) -> _Plain | None:
    """None for what asks for care: a code, a unit or a value out of the ordinary.

    Laboratories send few codes and units, and round: the same result comes again and again, of whichever patient.
    """
    kind = kinds_by_loinc().get(loinc)
    if kind is None or kind.id in _NOT_PLAIN or kind.plausible_max is None:
        return None
    conversion = agreed_conversion(kind.dimension, code or "", unit or "")
    if isinstance(conversion, Reason) or value is None or isinstance(value, str) or abs(value) > LARGEST:
        return None
    converted = value * conversion.factor + conversion.offset
    if kind.dimension == "count" and is_part_of_a_cell(value, conversion.factor):
        return None
    if not kind.plausible_min <= converted <= kind.plausible_max:
        return None
    # 1.3 10*9/L is 1300/µL, not 1300.0000000000002: counts are compared with whole-number limits.
    # Plus zero: 0 and -0 are remembered as one.
    return _Plain(kind.id, round(converted, 6), to_show(f"{value + 0.0:g} {unit or code}"))


def _specimen(o: Observation) -> str:
    """Reference of the specimen; one contained in the result has a name of its own only there."""
    reference = o.specimen.reference or "" if o.specimen is not None else ""
    return "" if reference.startswith("#") else reference.partition("/_history/")[0]


class ObservationReader:
    """Reads Observations of one patient into measurements, unusable results and coded results.

    Args:
        zone: the site's time zone, for dates without a time.
        local_codes: (system, code) -> kind id, from the site's configuration.
        local_units: (system, code) -> unit of a laboratory that sends none.
        whose: tells whose a result inside another resource is.
        books: the ledger of what was sent.
    """

    def __init__(
        self,
        zone: tzinfo,
        local_codes: Mapping[tuple[str, str], str] | None = None,
        local_units: Mapping[tuple[str, str], str] | None = None,
        whose: Whose | None = None,
        books: Books | None = None,
    ) -> None:
        self.zone = zone
        self.books = books if books is not None else Books()
        self.whose = whose if whose is not None else Whose("", Home())
        self.local_codes = local_codes or {}
        self.local_units = local_units or {}
        self.measurements: dict[str, list[Measurement]] = {}
        self.unusable: list[UnusableResult] = []
        self.coded: list[CodedResult] = []
        self.problems: list[ReadProblem] = []
        #: Sources that a result was left out of.
        self.spoilt: set[str] = set()
        self._groups: dict[str, str] = {}
        #: Result -> the panels and reports that name it; specimen -> itself: they tell when a result is of that does not.
        self._holders: dict[str, list[Observation | DiagnosticReport]] = {}
        self._specimens: dict[str, Specimen] = {}
        #: Panels and reports whose results may not have come (:meth:`close`).
        self._empty: list[Holder] = []
        self._by_loinc = kinds_by_loinc()

    def read(self, resources: Iterable[Resource], source: str) -> list[Resource]:
        """Read every Observation among the resources; returns what is none."""
        others: list[Resource] = []
        observations: list[Observation] = []
        contained: list[Observation] = []
        for resource in resources:
            if type(resource) is Observation:
                observations.append(resource)
                if resource.hasMember:
                    self._group(resource.hasMember, resource)
            elif type(resource) is DiagnosticReport:
                if (resource.status or "").strip().lower() in _NO_RESULT:
                    # What it contains is withdrawn with it; results of their own speak for themselves.
                    why = because("ledger.no-result", status=to_show(resource.status or ""))
                    self.books.irrelevant(source, ref_of(resource), "no-result", why)
                    continue
                self._group(resource.result or (), resource)
                self._hold(resource, source, resource.result or ())
                self.books.read(source, resource)
            elif type(resource) is Specimen:
                for key in self.whose.home.keys_of("Specimen", resource.id, resource.full_url):
                    self._specimens[key] = resource
                self.books.read(source, resource)
                continue
            else:
                others.append(resource)
                continue
            if len(resource.contained):
                contained += self._contained(resource, source)
        plain = 0
        for observation in observations:
            try:
                if self._read_plain(observation):
                    plain += 1
                    if self.books.in_words:
                        self.books.read(source, observation)
                else:
                    self._accounted(observation, source)
            except Exception as error:
                self._left_out(observation, source, error)
        if not self.books.in_words:
            self.books.read_many(plain)
        self.books.give(len(contained))
        for observation in contained:
            try:
                self._accounted(observation, source)
            except Exception as error:
                self._left_out(observation, source, error)
        return others

    def _accounted(self, o: Observation, source: str) -> None:
        """Read one result with care, and enter in the ledger what became of it."""
        refused, said, kept = len(self.unusable), len(self.problems), self._facts()
        self._read(o, source)
        why = [u.reason for u in self.unusable[refused:]] + [p.reason for p in self.problems[said:]]
        books, ref = self.books, _reference(o) or ref_of(o)
        if self._facts() > kept:
            books.read(source, o)
            for reason in why:
                books.element(source, ref, "value", "result", reason)
        elif why:
            each = list(dict.fromkeys(why))
            said_together = reduce(lambda one, other: because("reading.two", one=one, other=other), each)
            named = all(u.by_words for u in self.unusable[refused:]) and len(self.problems) == said
            books.not_understood(source, ref, "test" if named else "result", said_together)
        elif (o.status or "").strip().lower() in _NO_RESULT:
            books.irrelevant(
                source, ref, "no-result", because("ledger.no-result", status=to_show(o.status or ""))
            )
        elif self._kind(o.code)[0] is not None or o.component:
            books.irrelevant(source, ref, "empty", because("ledger.heading"))
        elif is_of_a_terminology(o.code):
            books.irrelevant(source, ref, "another-test", because("ledger.another-test"))
        else:
            books.not_understood(source, ref, "test", because("ledger.no-test-code"))

    def _hold(self, held: Observation | DiagnosticReport, source: str, members: Iterable[Reference]) -> None:
        """Keep a panel or report, to see later whether its results came."""
        name = _reference(held) if isinstance(held, Observation) else ref_of(held)
        keys = (self.whose.home.key(m.reference, holder=held.full_url) for m in members)
        at = self._moment(held) if isinstance(held, Observation) else self._effective(held)
        if at is None:
            at = read_moment(held.issued, self.zone)
        holder = holder_of(held, source, name, (key for key in keys if key), at)
        if holder is not None:
            self._empty.append(holder)

    def close(self) -> None:
        """After everything was read: name panels and reports of which no result came."""
        for holder in self._empty:
            if has_results(holder, self.measurements, self.unusable):
                continue
            at = holder.at
            self.books.element(holder.source, holder.ref, "result", "result", holder.why)
            if holder.kind in _COUNTED:
                counted = at.at if at is not None else LONG_AGO
                self.problems.append(
                    ReadProblem(
                        holder.source,
                        holder.ref,
                        because("unread.blood-count", why=holder.why),
                        counted=counted,
                        if_due=not holder.low,
                    )
                )
            else:
                self.unusable.append(
                    UnusableResult(
                        holder.kind, NOTHING, holder.why, holder.ref,
                        at.at if at is not None else None, at.date_only if at is not None else False, shown=_REPORT,
                    )
                )  # fmt: skip

    def _facts(self) -> int:
        return len(self.coded) + sum(map(len, self.measurements.values()))

    def _group(self, members: Iterable[Reference], holder: Observation | DiagnosticReport) -> None:
        """Results of one panel or report belong together."""
        name = f"{type(holder).__name__}/{holder.id}"
        for member in members:
            if key := self.whose.home.key(member.reference, holder=holder.full_url):
                self._groups[key] = name
                self._holders.setdefault(key, []).append(holder)

    def _left_out(self, o: Observation, source: str, error: Exception) -> None:
        self.problems.append(left_out(o, source, error))
        self.books.not_understood(source, ref_of(o), "fault", self.problems[-1].reason)
        self.spoilt.add(source)

    def _contained(self, holder: Observation | DiagnosticReport, source: str) -> list[Observation]:
        """Results inside a report or a panel, with the holder's time where they have none of their own."""
        found: list[Observation] = []
        key = f"{type(holder).__name__}/{holder.id}" if holder.id else ""
        try:
            inside = _raw_list.decode(holder.contained)
        except (msgspec.DecodeError, RecursionError):
            self.problems.append(ReadProblem(source, key, because("unread.contained")))
            self.spoilt.add(source)
            return found
        if len(inside) > _MOST_CONTAINED:
            why = because("unread.too-many-contained", most=_MOST_CONTAINED)
            self.problems.append(ReadProblem(source, key, why))
            self.spoilt.add(source)
            return found
        for raw in inside:
            result, problem = read_one(raw, source)
            if problem is not None:
                self.problems.append(ReadProblem(source, key, because("unread.inside", why=problem.reason)))
            if not isinstance(result, Observation):
                continue
            if foreign := self._not_whose(result, holder):
                self.problems.append(ReadProblem(source, key, because("unread.inside", why=foreign)))
                continue
            if not (result.effectiveDateTime or result.effectiveInstant or result.effectivePeriod):
                result.effectiveDateTime, result.effectivePeriod = (
                    holder.effectiveDateTime,
                    holder.effectivePeriod,
                )
                result.issued = result.issued or holder.issued
            # Its own id is a name within the holder only.
            result.id = f"{key}#{result.id}" if key and result.id else None
            if result.id:
                self._groups[_reference(result)] = key
            found.append(result)
        return found

    def _not_whose(self, result: Observation, holder: Observation | DiagnosticReport) -> Reason:
        """Why a result inside a report is not believed to be the patient's; one that names nobody, or somebody inside, is its holder's."""
        subject = result.subject
        if subject is None or (subject.reference or "").startswith("#") or not self.whose.patient_id:
            return NO_REASON
        return self.whose.why_not_of(subject, holder.full_url)

    def _read_plain(self, o: Observation) -> bool:
        """The form nearly every result has, in one go: LOINC code first, a number with a known unit, an instant.

        False, with nothing kept, for anything else: :meth:`_read` then decides with care.
        """
        concept, quantity, text = o.code, o.valueQuantity, o.effectiveDateTime
        if (
            concept is None
            or quantity is None
            or text is None
            or o.component is not None
            or not concept.coding
        ):
            return False
        coding = concept.coding[0]
        if coding.system != LOINC or coding.code not in self._by_loinc:
            return False
        unit, code = quantity.unit, quantity.code
        if (unit is not None and len(unit) > _LONGEST_UNIT) or (
            code is not None and len(code) > _LONGEST_UNIT
        ):
            return False
        plain = _plain(coding.code, quantity.value, unit, code)
        status = _STATUS.get(o.status)
        if (
            plain is None
            or len(o.modifierExtension)
            or o.implicitRules
            or status is None
            or quantity.comparator is not None
            or o.id is None
            or len(text) < 20
        ):
            return False
        try:
            at = _instant(text)
        except ValueError:
            return False
        if at.tzinfo is None or at.year in NO_YEARS:
            return False
        reference = "Observation/" + o.id
        specimen = "" if o.specimen is None else o.specimen.reference or ""
        if specimen.startswith("#"):
            specimen = ""  # contained in the result: a name of its own only there
        elif "/_history/" in specimen:
            specimen = _specimen(o)
        if self._groups:
            specimen = self._groups.get(reference, specimen)
        kept = self.measurements.get(plain.kind)
        if kept is None:
            kept = self.measurements[plain.kind] = []
        kept.append(
            Measurement(
                plain.kind,
                plain.value,
                at,
                reference,
                plain.raw,
                False,
                "",
                status,
                None,
                False,
                specimen,
            )
        )
        return True

    def _kind(self, code: CodeableConcept | None) -> tuple[Kind | None, str]:
        """Kind of a coded element, and the unit the site names for its code."""
        if code is None or code.coding is None:
            return None, ""
        for coding in code.coding:
            value = coding.code
            if value is None:
                continue
            value = value.strip()  # a column of fixed width fills up with blanks
            if is_loinc(coding.system):
                kind = self._by_loinc.get(value)
                if kind is not None:
                    unit = self.local_units.get((LOINC, value), "") if self.local_units else ""
                    return kind, unit
            if self.local_codes:  # a site may map further LOINC codes, too
                local = self.local_codes.get((coding.system or "", value))
                if local is not None and local in kinds():
                    return kinds()[local], self.local_units.get((coding.system or "", value), "")
        return None, ""

    def _read(self, o: Observation, source: str) -> None:
        kind, unit = self._kind(o.code)
        if not o.component and _is_heading(o) and (o.status or "").strip().lower() not in _NO_RESULT:
            self._hold(o, source, o.hasMember or ())
        if kind is None:
            if o.component:
                self._read_components(o, source)
            if not o.component or o.valueCodeableConcept is not None:
                answer = answer_of(o, self._moment)
                if answer is not None:
                    self.coded.append(answer)
                elif (o.status or "").strip().lower() not in _NO_RESULT:
                    self._name(o.code, o, o, _reference(o))
            return
        status, unclear = _status(o)
        if status is None:
            if unclear:
                self._refuse(kind, o, unclear, self._moment(o))
            return
        moment = self._moment(o)
        reference = _reference(o)
        group = self._groups.get(reference) if self._groups else None
        specimen = group or _specimen(o)
        posture = posture_of(o, o.code) if kind.id in _POSTURED else ""
        self._add(kind, o, quantity_of(o), o.valueString, unit, status, moment, reference, specimen, posture)
        if o.component:
            self._read_components(o, source)

    def _read_components(self, o: Observation, source: str) -> None:
        status, unclear = _status(o)
        if status is None and not unclear:
            return
        moment = self._moment(o)
        reference = _reference(o)
        if len(o.component or ()) > _MOST_COMPONENTS:
            why = because("unread.too-many-components", most=_MOST_COMPONENTS)
            self.problems.append(ReadProblem(source, reference, why))
            self.spoilt.add(source)
            return
        for component in o.component or ():
            kind, unit = self._kind(component.code)
            if kind is not None and status is None:
                self._refuse(kind, component, unclear, moment, ref=reference)
            elif kind is not None and status is not None:
                self._add(
                    kind,
                    component,
                    quantity_of(component),
                    component.valueString,
                    unit,
                    status,
                    moment,
                    reference,
                    self._groups.get(reference, reference),
                    posture_of(o, component.code) if kind.id in _POSTURED else "",
                )
            else:
                self._name(component.code, component, o, reference)

    def _moment(self, o: Observation) -> Moment | None:
        """When a result was taken: by itself, else by its specimen, else by the panel or report that names it, else when it was issued."""
        if (text := o.effectiveDateTime or o.effectiveInstant) is not None:
            return read_moment(text, self.zone)
        if o.effectivePeriod is not None and (text := o.effectivePeriod.end or o.effectivePeriod.start):
            return read_moment(text, self.zone)
        if (known := self._taken(o)) is not None:
            return known
        holders = self._holders.get(_reference(o), ()) if self._holders else ()
        stated = [m for h in holders if (m := self._effective(h)) is not None]
        if stated:
            return min(stated)
        if o.issued is not None:
            return read_moment(o.issued, self.zone)
        issued = [m for h in holders if (m := read_moment(h.issued, self.zone)) is not None]
        return min(issued, default=None)

    def _effective(self, holder: Observation | DiagnosticReport) -> Moment | None:
        """When a panel or report is of; of a long period nobody knows where in it a result lies."""
        if holder.effectiveDateTime is not None:
            return read_moment(holder.effectiveDateTime, self.zone)
        period = holder.effectivePeriod
        return read_stretch(period.start, period.end, self.zone) if period is not None else None

    def _taken(self, o: Observation) -> Moment | None:
        """When the specimen of a result was taken, as far as it says so: sent beside the result, or inside it."""
        reference = o.specimen.reference if o.specimen is not None else None
        if not reference:
            return None
        if reference.startswith("#"):
            specimen = _specimen_inside(o, reference[1:])
        else:
            home, plain = self.whose.home, reference.partition("/_history/")[0]
            specimen = home.find(self._specimens, plain, holder=o.full_url) if self._specimens else None
        if specimen is None:
            return None
        collection = specimen.collection if isinstance(specimen.collection, dict) else {}
        at = read_moment(collection.get("collectedDateTime"), self.zone)
        period = collection.get("collectedPeriod")
        if at is None and isinstance(period, dict):
            at = read_stretch(period.get("start"), period.get("end"), self.zone)
        return at or read_moment(specimen.receivedTime, self.zone)

    def _name(
        self, code: CodeableConcept | None, o: Observation | Component, holder: Observation, ref: str
    ) -> None:
        """Keep, as one that cannot be used, a result whose words alone say that a rule judges its kind."""
        found = by_words(code, o)
        if found is None:
            return
        moment, sent = self._moment(holder), _as_sent(o)
        self.unusable.append(
            UnusableResult(
                kind=found.kind,
                raw=_text_of(sent),
                reason=found.reason,
                ref=ref,
                at=moment.at if moment is not None else None,
                date_only=moment.date_only if moment is not None else False,
                by_words=True,
                shown=_reason_of(sent),
            )
        )

    def _refuse(
        self,
        kind: Kind,
        o: Observation | Component,
        reason: Reason,
        moment: Moment | None,
        raw: str | Reason = "",
        ref: str = "",
    ) -> None:
        sent = raw or _as_sent(o)
        if sent != NO_VALUE and (flag := flag_of(o.interpretation)):
            sent = (
                because("shown.with-flag", sent=sent, flag=flag)
                if isinstance(sent, Reason)
                else f"{sent} {flag}"
            )
        self.unusable.append(
            UnusableResult(
                kind=kind.id,
                raw=_text_of(sent),
                reason=reason,
                ref=ref or (_reference(o) if isinstance(o, Observation) else ""),
                at=moment.at if moment is not None else None,
                date_only=moment.date_only if moment is not None else False,
                shown=_reason_of(sent),
            )
        )

    def _refuse_without_number(
        self, kind: Kind, o: Observation | Component, moment: Moment | None, ref: str
    ) -> None:
        """Keep a result that has no number: what it has in its place, how it is flagged, or why there is nothing."""
        if word := text_of(o.valueCodeableConcept) if kind.dimension == "count" else "":
            self._refuse(kind, o, because("result-unused.word"), moment, raw=word, ref=ref)
        elif other := other_value(o):
            self._refuse(kind, o, because("result-unused.not-one-number"), moment, raw=other, ref=ref)
        else:
            absent = why_absent(o.dataAbsentReason)
            why = because("result-unused.absent", why=absent) if absent else because("result-unused.no-value")
            flag = flag_of(o.interpretation)
            self._refuse(kind, o, why, moment, raw=_FLAGGED if flag else NO_VALUE, ref=ref)

    def _add(
        self,
        kind: Kind,
        o: Observation | Component,
        quantity: Quantity | None,
        text: str | None,
        site_unit: str,
        status: ResultStatus,
        moment: Moment | None,
        reference: str,
        specimen: str,
        posture: str = "",
    ) -> None:
        """Convert one value and keep it, or keep why it cannot be used."""
        if kind.dimension == "own-range" and kind.id == "ecg":
            if moment is not None:
                done = Measurement(kind.id, 1.0, moment.at, reference, NOTHING, moment.date_only, "", status)
                done = msgspec.structs.replace(done, shown=_ECG)
                self.measurements.setdefault(kind.id, []).append(done)
            return
        if kind.id == "troponin" and moment is not None and (flag := _positive_flag(o)):
            sent = to_show(text_of(o.valueCodeableConcept) or o.valueString or "")
            positive = Measurement(kind.id, 1.0, moment.at, reference, sent, moment.date_only, "", status)
            positive = msgspec.structs.replace(
                positive,
                specimen=specimen,
                until=moment.until,
                flag=flag,
                shown=NO_REASON if sent else _WITHOUT_NUMBER[flag],
            )
            self.measurements.setdefault(kind.id, []).append(positive)
            return
        unit, code = "", ""
        bound: Literal["", "<", ">", "?"] = ""
        if quantity is not None and quantity.value is not None:
            value = quantity.value
            if isinstance(value, str):
                self._refuse(kind, o, because("result-unused.text"), moment, ref=reference)
                return
            if quantity.comparator:
                bound = _COMPARATORS.get(quantity.comparator, "?")
            named = [to_read(text or "", VALUE) for text in (quantity.unit, quantity.code)]
            unit, code = (text or NOTHING for text in named)
            if None in named:
                self._refuse(kind, o, because("unread.unit-too-long", most=VALUE), moment, ref=reference)
                return
            if abs(value) > LARGEST:
                self._refuse(
                    kind,
                    o,
                    because("result-unused.impossible"),
                    moment,
                    raw=_TOO_MANY_DIGITS,
                    ref=reference,
                )
                return
            raw = f"{quantity.comparator or ''}{value:g} {unit or code}"
        elif text is not None:
            said = to_read(text, VALUE)
            if said is None:
                self._refuse(
                    kind, o, because("unread.text-too-long", most=VALUE), moment, raw=text, ref=reference
                )
                return
            text = said
            # A site that names the unit of a laboratory names it for its numbers sent as text, too.
            parts = split_text(text) or (split_text(f"{text} {site_unit}") if site_unit else None)
            if parts is None:
                self._refuse(
                    kind, o, because("result-unused.not-number-and-unit"), moment, raw=text, ref=reference
                )
                return
            bound, value, unit = _COMPARATORS.get(parts[0], ""), parts[1], parts[2]
            raw = text
        else:
            if not (isinstance(o, Observation) and o.component):
                self._refuse_without_number(kind, o, moment, reference)
            return
        if kind.dimension == "own-range":
            converted = float(value)
        else:
            conversion = agreed_conversion(kind.dimension, code, unit)
            if isinstance(conversion, Reason) and not unit and not code and site_unit:
                conversion = agreed_conversion(kind.dimension, "", site_unit)
            if isinstance(conversion, Reason):
                self._refuse(kind, o, conversion, moment, raw=raw, ref=reference)
                return
            converted = value * conversion.factor + conversion.offset
            if kind.dimension == "count" and is_part_of_a_cell(float(value), conversion.factor):
                self._refuse(kind, o, because("result-unused.part-of-a-cell"), moment, raw=raw, ref=reference)
                return
        if not math.isfinite(converted) or value < 0:
            self._refuse(kind, o, because("result-unused.impossible"), moment, raw=raw, ref=reference)
            return
        if bound == "?":
            self._refuse(kind, o, because("result-unused.comparator"), moment, raw=raw, ref=reference)
            return
        if converted < kind.plausible_min or (
            kind.plausible_max is not None and converted > kind.plausible_max
        ):
            self._refuse(kind, o, because("result-unused.impossible-in-unit"), moment, raw=raw, ref=reference)
            return
        if moment is None:
            stated = isinstance(o, Observation) and (
                o.effectiveDateTime or o.effectiveInstant or o.effectivePeriod or o.issued
            )
            self._refuse(
                kind,
                o,
                because("result-unused.no-such-date") if stated else because("result-unused.no-date"),
                None,
                raw=raw,
                ref=reference,
            )
            return
        limit = upper_limit(kind, o, unit, code) if kind.id in _RANGED else None
        flag = flag_of(o.interpretation) if kind.id in _RANGED and limit is None else ""
        # 1.3 10*9/L is 1300/µL, not 1300.0000000000002: counts are compared with whole-number limits.
        kept = self.measurements.get(kind.id)
        sent = to_show(f"{raw} {flag}" if flag else raw)
        if kept is None:
            kept = self.measurements[kind.id] = []
        kept.append(
            Measurement(
                kind.id,
                round(converted, 6),
                moment.at,
                reference,
                sent,
                moment.date_only,
                bound,
                status,
                limit,
                False,
                specimen,
                posture,
                moment.until,
                flag,
                # The first of the month stands for the whole of it: people see that.
                NO_REASON if moment.until is None else because("shown.no-exact-date", sent=sent),
            )
        )


_ECG = because("shown.ecg")
#: How a panel or report is shown of which no result came.
_REPORT = because("shown.report")
_FLAGGED = because("shown.flagged")
_TOO_MANY_DIGITS = because("shown.too-many-digits")
_raw_list = msgspec.json.Decoder(list[Raw])


#: How a result is shown that its laboratory flags and sends no number of.
_WITHOUT_NUMBER = {
    "POS": because("shown.positive"),
    "H": because("shown.with-flag", sent=_FLAGGED, flag="H"),
    "HH": because("shown.with-flag", sent=_FLAGGED, flag="HH"),
}


def _positive_flag(o: Observation | Component) -> str:
    """The flag of a troponin that has no number: by its words, else as the laboratory flags it; empty where it is not raised."""
    quantity = quantity_of(o)
    if quantity is not None and quantity.value is not None:
        return ""
    if is_positive(o.valueCodeableConcept, o.valueString):
        return "POS"
    flag = "" if o.valueString or o.valueCodeableConcept else flag_of(o.interpretation)
    return flag if flag in _WITHOUT_NUMBER else ""


def _is_heading(o: Observation) -> bool:
    """A panel: no value in any form, none said to be absent, no flag."""
    return (
        quantity_of(o) is None
        and o.valueString is None
        and o.valueCodeableConcept is None
        and not other_value(o)
        and not len(o.dataAbsentReason)
        and not len(o.interpretation)
    )


def _specimen_inside(o: Observation, identifier: str) -> Specimen | None:
    """A specimen contained in its result."""
    try:
        inside = _raw_list.decode(o.contained) if len(o.contained) else []
    except (msgspec.DecodeError, RecursionError):
        return None
    for raw in inside[:_MOST_CONTAINED]:
        found, _ = read_one(raw, "")
        if isinstance(found, Specimen) and found.id == identifier:
            return found
    return None


def _status(o: Observation) -> tuple[ResultStatus | None, Reason]:
    """The status of a result; without one that counts, why not, and nothing to say of one that is no result."""
    if o.status is None:
        return None, because("result-unused.no-status")
    if is_modified(o):
        return None, MODIFIED
    word = o.status.strip().lower()
    found = _STATUS.get(word)
    known = found is not None or word in _NO_RESULT
    return found, NO_REASON if known else because("result-unused.status")


def _reference(o: Observation) -> str:
    if o.id and "#" in o.id:
        return o.id  # inside another resource
    return f"Observation/{o.id}" if o.id else ""


def _text_of(sent: str | Reason) -> RecordText:
    return NOTHING if isinstance(sent, Reason) else to_show(sent)


def _reason_of(sent: str | Reason) -> Reason:
    return sent if isinstance(sent, Reason) else NO_REASON


def _as_sent(o: Observation | Component) -> str | Reason:
    quantity = quantity_of(o)
    if quantity is not None and quantity.value is not None:
        return f"{quantity.comparator or ''}{quantity.value} {quantity.unit or quantity.code or ''}".strip()
    return o.valueString or other_value(o) or NO_VALUE
