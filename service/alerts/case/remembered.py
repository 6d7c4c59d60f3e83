"""What the registry remembers of a patient, as facts (contract "Registry"): kept small, and merged into a call whose own data lack it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from service.alerts.case.ending import is_over_undated
from service.alerts.case.exposure import is_live
from service.alerts.facts.ledger import EMPTY
from service.alerts.facts.patient import (
    CodedResult,
    FromRegistry,
    Measurement,
    Medication,
    PatientSnapshot,
    RecalledPart,
    SourceName,
    SourceState,
    UnusableResult,
)
from service.alerts.facts.reason import Reason, because, restored, stored
from service.alerts.knowledge.codes import source_of

#: Newest results kept per kind: a year of weekly counts, and more than any interval rule looks back for other kinds.
_KEPT_PER_KIND = 60
_Fact = TypeVar("_Fact")


def _encode(value: object) -> str:
    if isinstance(value, Reason):
        return stored(value)
    if isinstance(value, tzinfo):
        return str(value)
    raise NotImplementedError


def _decode(wanted: type, value: object) -> Any:
    if wanted is Reason:
        return restored(str(value))
    if wanted is tzinfo:
        return ZoneInfo(str(value))
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoder = msgspec.json.Decoder(PatientSnapshot, dec_hook=_decode)


def facts_to_keep(snapshot: PatientSnapshot) -> PatientSnapshot:
    """What is worth remembering of a call: nothing drafted, no reading problems, the newest results of each kind."""
    return replace(
        snapshot,
        hook="sweep",
        drafts=(),
        test_orders=tuple(t for t in snapshot.test_orders if not t.draft),
        read_problems=(),
        flags=(),
        remembered=(),
        registered=False,
        ledger=EMPTY,
        measurements={kind: _newest(values) for kind, values in snapshot.measurements.items()},
    )


def read_completely(snapshot: PatientSnapshot, at: datetime) -> PatientSnapshot:
    """The facts of a reading with the moment at which its complete sources were read."""
    complete = [source for source, state in snapshot.sources.items() if state == "complete"]
    return replace(snapshot, read_at=dict.fromkeys(complete, at))


def _newest(values: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    if len(values) <= _KEPT_PER_KIND:
        return values
    dated = sorted((m for m in values if m.at is not None), key=lambda m: m.at, reverse=True)  # type: ignore[arg-type,return-value]
    return tuple(dated[:_KEPT_PER_KIND])


def dump(snapshot: PatientSnapshot) -> str:
    """Facts as JSON for the database."""
    return encoded(snapshot).decode()


def encoded(snapshot: PatientSnapshot) -> bytes:
    """The same, in UTF-8."""
    return _encoder.encode(snapshot)


def load(text: str | bytes) -> PatientSnapshot:
    """Facts as they were dumped. Raises msgspec.ValidationError when they are of another version."""
    return _decoder.decode(text)


def _union(new: Iterable[_Fact], old: Iterable[_Fact], key: str) -> tuple[_Fact, ...]:
    """New facts, and the old ones they do not replace."""
    kept = {getattr(f, key) or id(f): f for f in old}
    kept |= {getattr(f, key) or id(f): f for f in new}
    return tuple(kept.values())


def update(
    old: PatientSnapshot,
    new: PatientSnapshot,
    reread: Collection[str] = frozenset(),
    *,
    known_at: datetime | None = None,
    as_of: datetime | None = None,
) -> PatientSnapshot:
    """What is remembered after a call: sources the call read completely replace what was known, others add to it.

    Args:
        old: what was known.
        new: what was read.
        reread: references of every resource that was read or is known to be deleted: what they said before is forgotten, also
            when they say nothing any more (entered in error).
        known_at: when ``old`` was known; an order that was active then and is over now ended since.
        as_of: when ``new`` was read.
    """
    medications = _still_named(new.medications, old.medications)
    if known_at is not None:
        medications = witnessed(medications, old.medications, known_at, as_of)
    new = replace(new, medications=medications)
    old = without(old, reread)
    merged = _merge(new, old, since=None)
    # What was once read completely stays known; what never was is not taken for "none".
    known: dict[str, SourceState] = {
        source: "complete" if "complete" in (new.state(source), old.state(source)) else new.state(source)  # type: ignore[arg-type]
        for source in {**old.sources, **new.sources}
    }
    read_at = old.read_at | new.read_at
    return replace(merged, sources=known, unusable=_unusable(new, old), read_at=read_at)


def _still_named(new: tuple[Medication, ...], old: tuple[Medication, ...]) -> tuple[Medication, ...]:
    """A record keeps its drug when the product it refers to could not be read this time: a reference never changes its drug."""
    named = {m.ref: m for m in old if m.drugs and m.ref}
    return tuple(_named_as(m, named[m.ref]) if not m.drugs and m.ref in named else m for m in new)


def _named_as(m: Medication, known: Medication) -> Medication:
    """A record with the product that it is known to be of."""
    return replace(
        m,
        drugs=known.drugs,
        label=known.label,
        matched_by=known.matched_by,
        systemic=m.systemic and known.systemic,
        parenteral=m.parenteral or known.parenteral,
        long_acting=known.long_acting,
        unread="",
    )


def witnessed(
    new: tuple[Medication, ...],
    old: tuple[Medication, ...],
    known_at: datetime,
    as_of: datetime | None = None,
) -> tuple[Medication, ...]:
    """Records that are over without a date, with what this service saw of them before: active at ``known_at``, over when read (``as_of``).

    FHIR R4 gives orders no end date; that the order was active yesterday and is over today bounds it closely.
    """
    if not any(is_over_undated(m, as_of or known_at) for m in new):
        return new
    before = {m.ref: m for m in old if m.ref}
    return tuple(
        _seen(m, before[m.ref], known_at, as_of)
        if m.ref in before and is_over_undated(m, as_of or known_at)
        else m
        for m in new
    )


def _seen(now: Medication, before: Medication, known_at: datetime, as_of: datetime | None) -> Medication:
    if is_live(before, known_at):
        bounds = [at for at in (now.updated, as_of) if at is not None]
        # What changed before the last reading was not read then: it was not seen active.
        seen = known_at if now.updated is None or now.updated >= known_at else before.seen_active
        return replace(now, seen_active=seen, updated=min(bounds, default=None))
    if not is_over_undated(before, known_at):
        return now
    bounds = [at for at in (now.updated, before.updated) if at is not None]
    return replace(now, seen_active=before.seen_active, updated=min(bounds, default=None))


def without(old: PatientSnapshot, gone: Collection[str]) -> PatientSnapshot:
    """What was known, but for what these references said."""
    if not gone:
        return old
    return replace(
        old,
        measurements={k: tuple(m for m in ms if m.ref not in gone) for k, ms in old.measurements.items()},
        unusable=tuple(u for u in old.unusable if u.ref not in gone),
        medications=tuple(m for m in old.medications if m.ref not in gone),
        problems=tuple(p for p in old.problems if p.ref not in gone),
        allergies=tuple(a for a in old.allergies if a.ref not in gone),
        coded=tuple(c for c in old.coded if c.ref not in gone),
        deceased=old.deceased and f"Patient/{old.patient_id}" not in gone,
    )


def _unusable(new: PatientSnapshot, old: PatientSnapshot) -> tuple[UnusableResult, ...]:
    """Results that cannot be used, the known ones too where their source was not read completely."""
    read = {m.ref for values in new.measurements.values() for m in values} | {u.ref for u in new.unusable}
    kept = (u for u in old.unusable if u.ref not in read and new.state(source_of(u.kind)) != "complete")
    return (*new.unusable, *kept)


def join(kept: PatientSnapshot, other: PatientSnapshot) -> PatientSnapshot:
    """The facts of two records that turned out to be one patient's."""
    lacking: dict[str, SourceState] = dict.fromkeys(kept.sources, "incomplete")
    # The later reading of one says nothing of the other.
    read_at = {s: min(at, other.read_at[s]) for s, at in kept.read_at.items() if s in other.read_at}
    merged = _merge(replace(kept, sources=lacking), other, since=None)
    return replace(merged, sources=kept.sources, read_at=read_at)


def enrich(
    snapshot: PatientSnapshot,
    remembered: PatientSnapshot,
    known_on: date,
    course_start: datetime | None = None,
    known_at: datetime | None = None,
) -> PatientSnapshot:
    """A call's facts with what the registry knows put in where the call's own sources could not be read completely.

    A source that was read completely is believed alone: what has gone from it since may have been an error.

    Args:
        snapshot: what the call holds.
        remembered: what the registry kept.
        known_on: day of what the registry kept, shown with every fact it gives.
        course_start: first day of the present course as the registry knows it, for records that tell no start.
        known_at: moment of what the registry kept; an order that was active then and is over now ended since.
    """
    if known_at is not None:
        seen = witnessed(snapshot.medications, remembered.medications, known_at)
        if seen is not snapshot.medications:
            snapshot = replace(snapshot, medications=seen)
    snapshot = _recognised(snapshot, remembered, known_on)
    records = [m for m in snapshot.medications if "clozapine" in m.drugs]
    if course_start is not None and records and all(m.start is None for m in records):
        dated = tuple(
            replace(m, start=course_start, start_date_only=True) if "clozapine" in m.drugs else m
            for m in snapshot.medications
        )
        snapshot = replace(
            snapshot, medications=dated, remembered=(*snapshot.remembered, _recalled("start", since=known_on))
        )
    return _merge(snapshot, remembered, since=known_on)


def _recognised(snapshot: PatientSnapshot, remembered: PatientSnapshot, known_on: date) -> PatientSnapshot:
    """Records whose product could not be read in this call are of the product that the registry knows them by."""
    if not any(m.unread for m in snapshot.medications):
        return snapshot
    medications = _still_named(snapshot.medications, remembered.medications)
    if sum(bool(m.unread) for m in medications) == sum(bool(m.unread) for m in snapshot.medications):
        return snapshot
    said = _recalled("product", since=known_on)
    return replace(snapshot, medications=medications, remembered=(*snapshot.remembered, said))


def _recalled(*parts: RecalledPart, since: date) -> FromRegistry:
    return FromRegistry(tuple(dict.fromkeys(parts)), since)


def _merge(snapshot: PatientSnapshot, old: PatientSnapshot, since: date | None) -> PatientSnapshot:
    measurements = dict(snapshot.measurements)
    added: list[RecalledPart] = []

    def lacking(source: SourceName) -> bool:
        return snapshot.state(source) != "complete"

    for kind, values in old.measurements.items():
        if not lacking(source_of(kind)):
            continue
        # A corrected result has the reference of the one it corrects; a file's lines share one that is no resource.
        have = {m.ref for m in measurements.get(kind, ()) if "/" in m.ref}
        have_times = {(m.at, m.value) for m in measurements.get(kind, ())}
        extra = [
            replace(m, shown=because("shown.from-registry", sent=m.as_sent, since=since)) if since else m
            for m in values
            if m.ref not in have and (m.at, m.value) not in have_times
        ]
        if extra:
            measurements[kind] = (*measurements.get(kind, ()), *extra)
            added.append("counts" if source_of(kind) == "counts" else "results")
    medications = snapshot.medications
    roles = {
        "order": lacking("medications"),
        "statement": lacking("statements"),
        "dispense": lacking("dispenses"),
        "administration": lacking("administrations"),
    }
    remembered = [m for m in old.medications if roles.get(m.role)]
    if remembered:
        drafted = {d.ref for d in snapshot.drafts}
        medications = _union(snapshot.medications, [m for m in remembered if m.ref not in drafted], "ref")
        if len(medications) > len(snapshot.medications):
            added.append("medications")
    problems = snapshot.problems
    if lacking("conditions") and old.problems:
        problems = _union(snapshot.problems, old.problems, "ref")
        added.append("problems")
    allergies = (
        _union(snapshot.allergies, old.allergies, "ref") if lacking("allergies") else snapshot.allergies
    )
    coded: tuple[CodedResult, ...] = snapshot.coded
    if lacking("labs") or lacking("smoking"):
        coded = _union(snapshot.coded, old.coded, "ref")
    said = (_recalled(*added, since=since),) if added and since is not None else ()
    return replace(
        snapshot,
        measurements=measurements,
        medications=medications,
        problems=problems,
        allergies=allergies,
        coded=coded,
        sex=snapshot.sex or old.sex,
        birth_date=snapshot.birth_date or old.birth_date,
        deceased=snapshot.deceased or (old.deceased and lacking("patient")),
        remembered=(*snapshot.remembered, *said),
    )
