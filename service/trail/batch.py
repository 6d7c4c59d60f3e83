"""Calls that go to the database together, and the file that has them until then."""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from service.alerts.case.remembered import encoded, load
from service.alerts.facts.patient import PatientSnapshot
from service.trail.call import Call
from service.trail.spool import SpoolFile

log = logging.getLogger("service.registry")

#: (site, patient id) -> when the facts were known, and they.
Patients = dict[tuple[str, str], tuple[datetime, PatientSnapshot]]


_NOTHING = Raw(b"null")


class _Line(Struct, frozen=True):
    """A line of the spool: a call, and what is to be remembered of its patient (``remembered.encoded``)."""

    call: Call
    #: Put in as they are: to quote them once more would take longer than all else of a line.
    facts: Raw = _NOTHING


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def line_of(call: Call, facts: PatientSnapshot | None) -> bytes:
    """A call as a line of the spool."""
    return _encoder.encode(_Line(call, Raw(encoded(facts)) if facts is not None else _NOTHING))


class Batch:
    """Calls, newest last, and the newest facts of their patients.

    Args:
        begun: when its first call came, on the clock of the process.
        file: has the same calls on disk; None = they are in memory only.
    """

    def __init__(self, begun: float, file: SpoolFile | None = None) -> None:
        self.begun = begun
        self.file = file
        self.calls: list[Call] = []
        self.patients: Patients = {}
        #: It takes no more calls.
        self.full = False
        #: It was tried before: the database may have it already.
        self.again = False

    def add(self, call: Call, facts: PatientSnapshot | None) -> None:
        """Take in a call; of several on one patient the last one knows most, and the others' facts need not be kept."""
        self.calls.append(call)
        if facts is not None:
            self.patients[call.site, facts.patient_id] = call.at, facts


def read_again(file: SpoolFile, begun: float) -> Batch:
    """The batch that a process left behind; lines that cannot be read are left out, and logged. Raises OSError."""
    batch = Batch(begun, file)
    batch.full = batch.again = True
    unread = 0
    for line in file.lines():
        try:
            kept = _decoder.decode(line)
            batch.add(kept.call, load(bytes(kept.facts)) if kept.facts != _NOTHING else None)
        except (msgspec.MsgspecError, ValueError):  # a line that was not finished, or of another version
            unread += 1
    if unread:
        log.error("%d records of the spool could not be read", unread)
    return batch
