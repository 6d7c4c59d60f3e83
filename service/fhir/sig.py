"""Dosage instructions as sent: decoded and read once, however often the same order comes in.

An order is sent again with every hook of its session and at every renewal, byte for byte; only the bytes are remembered, for no patient.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from service.alerts.facts.patient import Dose
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import DOSAGE, NAME, NOTHING, RecordText, to_read
from service.alerts.facts.remembered_texts import remembering
from service.fhir.course_text import CourseText, read_course
from service.fhir.dosage import read_dose
from service.fhir.routes import is_under_the_tongue
from service.fhir.strength import Strength
from service.fhir.timing import length_of

#: Dosages that are remembered, and the longest of them (bytes as sent): a few lines with a text each.
_REMEMBERED, _LONGEST_REMEMBERED = 2048, 3000
#: Instructions of one record, and the size of them all as sent (bytes): the longest titrations come to a tenth of it.
_MOST_LINES = 100
_MOST_BYTES = 200_000
_any = msgspec.json.Decoder()
#: What is longer is no course.
_LONGEST_DAYS = 3_652


class Sig(Struct, frozen=True):
    """What a record's dosage elements say besides the dose."""

    lines: tuple[Any, ...]
    route: RecordText = NOTHING
    #: boundsPeriod of every line, as sent: (start, end); None for a line without.
    bounds: tuple[tuple[Any, Any] | None, ...] = ()
    #: Any line has a boundsPeriod.
    is_bounded: bool = False
    #: Length of the course when every line has one (boundsDuration, the longer end of boundsRange, or in words); None otherwise.
    length: timedelta | None = None
    #: It is taken until what was supplied is finished.
    until_finished: bool = False
    #: Why no dose is read from it; empty when it can be looked at.
    unreadable: Reason = NO_REASON
    #: A text of it is too long to be read.
    unread: bool = False


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


#: Members that no dose is read from, and that may hold anything.
_NOT_READ = frozenset({"extension", "modifierExtension", "_text"})
#: Members that are read as written instructions.
_WRITTEN = ("text", "patientInstruction")


class _Tidied:
    """Dosage elements with their texts as text of the record; of one that is too long nothing is left."""

    def __init__(self) -> None:
        #: An instruction is too long to be read.
        self.unread = False
        #: An instruction carries a modifierExtension, which nobody knows here.
        self.modified = False

    def line(self, value: Any) -> Any:
        """One dosage instruction. Where one of its texts is too long, the other goes too: alone it might mislead."""
        if not isinstance(value, dict):
            return self.of(value)
        self.modified = self.modified or bool(value.get("modifierExtension"))
        written = [to_read(text, DOSAGE) for key in _WRITTEN if isinstance(text := value.get(key), str)]
        if None in written:
            self.unread = True
            return {key: self.of(item) for key, item in value.items() if key not in (*_NOT_READ, *_WRITTEN)}
        return {
            key: to_read(item, DOSAGE) if key in _WRITTEN and isinstance(item, str) else self.of(item)
            for key, item in value.items()
            if key not in _NOT_READ
        }

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return to_read(value, NAME) or NOTHING
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items() if key not in _NOT_READ}
        return value


def _route(lines: tuple[Any, ...]) -> RecordText:
    """Route as text, from the first line that names one; else “sublingual” where the words say so, as of eye drops against drooling."""
    for line in lines:
        route = _get(line, "route")
        if isinstance(route, dict):
            codings = route.get("coding")
            displays = (
                [str(c.get("display") or c.get("code") or "") for c in codings if isinstance(c, dict)]
                if isinstance(codings, list)
                else []
            )
            return to_read(" ".join([str(route.get("text") or ""), *displays]), NAME) or NOTHING
    written = (t for line in lines for key in _WRITTEN if isinstance(t := _get(line, key), str))
    return RecordText("sublingual") if any(is_under_the_tongue(text) for text in written) else NOTHING


@remembering(_REMEMBERED, _LONGEST_REMEMBERED)
def _sig(content: bytes) -> Sig:
    tidied = _Tidied()
    try:
        decoded = _any.decode(content)
        decoded = (
            [tidied.line(line) for line in decoded] if isinstance(decoded, list) else tidied.line(decoded)
        )
    except (msgspec.DecodeError, RecursionError):
        return Sig(("unreadable",))
    if isinstance(decoded, list) and len(decoded) > _MOST_LINES:
        return Sig((), unreadable=because("dose-unread.too-many-instructions", most=_MOST_LINES))
    if tidied.modified:
        return Sig((), unreadable=because("dose-unread.modified"))
    lines = tuple(decoded) if isinstance(decoded, list) else () if decoded is None else (decoded,)
    bounds = tuple(
        (period.get("start"), period.get("end"))
        if isinstance(period := _get(_get(_get(line, "timing"), "repeat"), "boundsPeriod"), dict)
        else None
        for line in lines
    )
    words = tuple(map(_course, lines))
    return Sig(
        lines,
        _route(lines),
        bounds,
        any(bounds),
        _length(lines, words),
        bool(words) and all(w.until_finished for w in words),
        unread=tidied.unread,
    )


def _course(line: Any) -> CourseText:
    """What the words of a line say of the length of the course."""
    return read_course(" ".join(t for key in _WRITTEN if isinstance(t := _get(line, key), str)))


def _length(lines: tuple[Any, ...], words: tuple[CourseText, ...]) -> timedelta | None:
    """How long the course is: lines that follow each other one after the other, else the longest."""
    lengths = [
        # Where the words and the fields differ the longer one is told: a drug that ends too early looks stopped.
        max((d for d in (_length_of(_get(_get(line, "timing"), "repeat")), _said(course)) if d), default=None)
        for line, course in zip(lines, words, strict=True)
    ]
    known = [length for length in lengths if length is not None]
    if not known or len(known) < len(lengths):
        return None
    places = [_get(line, "sequence") for line in lines]
    follow = None not in places and len(set(map(str, places))) == len(places)
    return sum(known, timedelta()) if follow else max(known)


def _said(course: CourseText) -> timedelta | None:
    return (
        timedelta(days=course.days) if course.days is not None and 0 < course.days <= _LONGEST_DAYS else None
    )


def _length_of(repeat: Any) -> timedelta | None:
    if not isinstance(repeat, dict):
        return None
    longest = _get(repeat.get("boundsRange"), "high")
    days = length_of({"repeat": repeat if longest is None else {"boundsDuration": longest}}, None).days
    return timedelta(days=days) if days is not None and 0 < days <= _LONGEST_DAYS else None


@remembering(_REMEMBERED, _LONGEST_REMEMBERED)
def _dose(content: bytes, strength: Strength, lower: bool) -> Dose:
    sig = _sig(content)
    if sig.unreadable:
        return Dose(mg_per_day=None, unreadable=sig.unreadable)
    dose = read_dose(list(sig.lines), strength, lower=lower)
    if not sig.unread:
        return dose
    if dose.mg_per_day is None:
        return replace(dose, unreadable=_UNREAD_TEXT)
    return replace(dose, notes=(*dose.notes, because("dose-note.text-too-long", most=DOSAGE)))


_TOO_LARGE = Sig((), unreadable=because("dose-unread.too-large", most=_MOST_BYTES))


_UNREAD_TEXT = because("unread.text-too-long", most=DOSAGE)


def sig_of(raw: Raw) -> Sig:
    """The dosage elements of a record."""
    if len(raw) > _MOST_BYTES:
        return _TOO_LARGE
    return _sig(bytes(raw)) if len(raw) else Sig(())


def dose_of(raw: Raw, strength: Strength, *, draft: bool = False) -> Dose:
    """The dose that a record's dosage elements come to: where they contradict themselves the higher of a draft, the lower of the record."""
    if len(raw) > _MOST_BYTES:
        return Dose(mg_per_day=None, unreadable=_TOO_LARGE.unreadable)
    return _dose(bytes(raw), strength, not draft) if len(raw) else read_dose(None, strength)
