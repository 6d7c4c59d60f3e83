"""What a finding showed, as a hash: the same facts give the same one on any day, new evidence gives another.

An override silences, and a closed alert stays closed, only while this does not change. Another result, date, drug, dose or
record changes it; another card, another day, another order of the facts, or a record that the finding does not rest on does
not. It is a one-way hash of references, values and times and holds no text of the record; the severity is not part of it –
whoever compares two findings compares their severities, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

from service.alerts.facts.patient import (
    Allergy,
    CodedResult,
    Measurement,
    Medication,
    PatientSnapshot,
    Problem,
    UnusableResult,
)
from service.alerts.say.finding import Evidence, Finding

#: Orders of these hooks are not signed: their ids are made up by the EHR and may be others in the next call.
_UNSIGNED = frozenset({"order-select", "order-sign"})
#: Records of single doses and supplies: a new one comes every day or month. They say that a drug is taken, and no more;
#: a rule to which the last dose or the end of the supply matters says so in ``Finding.decisive``.
_HANDED = frozenset({"administration", "dispense"})
_DIGEST_BYTES = 16


class Seen:
    """Hashes what findings of one snapshot showed.

    Args:
        snapshot: the facts that were judged.
        findings: those that will be asked about; the facts behind them are looked up in one pass.
    """

    def __init__(self, snapshot: PatientSnapshot, findings: Iterable[Finding]) -> None:
        self._snapshot = snapshot
        #: By identity; the finding is kept with its hash, so that its identity stays its own.
        self._known: dict[int, tuple[Finding, str]] = {}
        self._facts = _facts(snapshot, {e.ref for f in findings for e in f.evidence if e.ref})

    def __call__(self, finding: Finding) -> str:
        """32 hexadecimal digits."""
        known = self._known.get(id(finding))
        if known is None:
            known = self._known[id(finding)] = (finding, self._hashed(finding))
        return known[1]

    def _hashed(self, finding: Finding) -> str:
        records: list[Medication] = []
        shown: set[tuple[Any, ...]] = set()
        for evidence in finding.evidence:
            found = self._facts.get(evidence.ref, ())
            records += [fact for fact in found if isinstance(fact, Medication)]
            shown |= {_said(fact) for fact in found if not isinstance(fact, Medication)}
            if not found:
                shown.add(self._unknown(evidence))
        shown |= _taken(self._snapshot, records)
        # The empty part once held a sentence: without it every override and every closed alert would come up again.
        parts = (
            finding.code, finding.subject, sorted(finding.also), sorted(finding.about), finding.decisive, "", sorted(map(repr, shown)),
        )  # fmt: skip
        return blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def _unknown(self, evidence: Evidence) -> tuple[Any, ...]:
        """Evidence that is no fact of the record: the patient, a clinician's statement, a resource that could not be read."""
        if evidence.ref == f"Patient/{self._snapshot.patient_id}":
            return ("patient", self._snapshot.sex)  # the age changes by itself
        return ("other", evidence.ref, evidence.text, _at(evidence.at))


def _facts(snapshot: PatientSnapshot, wanted: set[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if not wanted:
        return found
    kept: tuple[tuple[Any, ...], ...] = (
        *snapshot.measurements.values(), snapshot.unusable, snapshot.coded, snapshot.medications, snapshot.problems, snapshot.allergies,
    )  # fmt: skip
    for kind in kept:
        for fact in kind:
            if fact.ref in wanted:
                found.setdefault(fact.ref, []).append(fact)
    for draft in snapshot.drafts:
        if draft.ref in wanted:
            # The order in question may be stored already: the one of the call is the one that is asked about.
            found[draft.ref] = [draft]
    return found


def _at(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


def _said(fact: Measurement | UnusableResult | CodedResult | Problem | Allergy) -> tuple[Any, ...]:
    """What decides of a fact. That a preliminary result has become final is new; that it was repeated unchanged is not."""
    match fact:
        case Measurement():
            early = fact.status == "preliminary"
            return (
                "result",
                fact.ref,
                fact.kind,
                fact.value,
                fact.bound,
                _at(fact.at),
                early,
                fact.upper_limit,
            )
        case UnusableResult():
            return ("unusable", fact.ref, fact.kind, fact.as_sent, _at(fact.at))
        case CodedResult():
            return ("coded", fact.ref, fact.kind, fact.value, _at(fact.at))
        case Problem():
            ended = _at(fact.abated)
            return (
                "problem",
                fact.ref,
                tuple(sorted(fact.kinds)),
                fact.clinical_status,
                fact.verification,
                _at(fact.onset),
                ended,
            )
        case Allergy():
            return (
                "allergy",
                fact.ref,
                tuple(sorted(fact.drugs)),
                fact.clinical_status,
                fact.verification,
                fact.reaction,
            )


def _taken(snapshot: PatientSnapshot, records: list[Medication]) -> set[tuple[Any, ...]]:
    ordered = {drug for m in records if m.role not in _HANDED for drug in m.drugs}
    shown: set[tuple[Any, ...]] = set()
    for m in records:
        if m.role not in _HANDED:
            shown.add(_ordered(snapshot, m))
        elif not ordered.issuperset(m.drugs) or not m.drugs:
            shown.add(("taken", *_drug(m)))
    return shown


def _ordered(snapshot: PatientSnapshot, m: Medication) -> tuple[Any, ...]:
    """An order or a statement: which record, which drug, how, how much, from when, until when."""
    how = (*_drug(m), m.parenteral, m.long_acting, m.systemic, _dose(m), m.not_taken, m.stops)
    if m.role == "draft":
        ref = m.ref if snapshot.hook not in _UNSIGNED else ""
        # An order that is being written carries the moment of the call: of it the day counts.
        return ("draft", ref, how, snapshot.day(m.start).isoformat() if m.start is not None else None)
    return (m.role, m.ref, how, _at(m.start), _at(m.end), m.status)


def _drug(m: Medication) -> tuple[Any, ...]:
    return (tuple(sorted(m.drugs)),) if m.drugs else ((), m.label)


def _dose(m: Medication) -> tuple[Any, ...] | None:
    d = m.dose
    if d is None:
        return None
    steps = tuple((s.first_day, s.days, s.mg_per_day) for s in d.steps)
    written = d.text if d.mg_per_day is None else ""
    return (
        d.mg_per_day,
        d.first_mg_per_day,
        d.largest_single_mg,
        d.doses_per_day,
        steps,
        d.only_as_needed,
        d.bedtime,
        d.times,
        written,
    )
