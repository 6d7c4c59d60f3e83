"""A FHIR Bulk Data export on disk: which files, line by line, plain or gzip, and what could not be read."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from fhir.resources.R4B import get_fhir_model_class
from msgspec import Struct, field

from service.fhir.references import read_reference

MEDICATION_RECORDS = (
    "MedicationRequest",
    "MedicationStatement",
    "MedicationDispense",
    "MedicationAdministration",
)
#: Resources that the rules read and that belong to one patient.
OF_PATIENT = frozenset(
    {"Patient", "Observation", "DiagnosticReport", "Condition", "AllergyIntolerance", *MEDICATION_RECORDS}
)
USED = OF_PATIENT | {"Medication"}
#: A line longer than this is no resource a record holds; reading it would take memory without bound.
_LONGEST_LINE = 16_000_000
#: Faults that are named in the report; the others are counted.
_NAMED = 20


class ExportError(ValueError):
    """An export that cannot be used at all; the message is one sentence."""


class Faults(Struct):
    """Lines that could not be read: how many, and where the first ones are."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, where: str, why: str) -> None:
        """Count one line; ``where`` is ``file:line``."""
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append(f"{where}: {why}")

    def merge(self, other: Faults) -> None:
        """Take over what another reader found."""
        self.count += other.count
        self.named = (self.named + other.named)[:_NAMED]


class ExportFile(Struct, frozen=True):
    """One file of the export. ``type_name`` is empty when its name does not tell what it holds."""

    path: Path
    name: str
    type_name: str
    size: int


class Peek(Struct):
    """What tells whose a line is."""

    resourceType: Any = None
    id: Any = None
    subject: Any = None
    patient: Any = None


_peek = msgspec.json.Decoder(Peek)


def _type_in(name: str) -> str:
    """The resource type a file name speaks of: ``Patient.000.ndjson``, ``part-1.Observation.ndjson.gz``."""
    for word in re.split(r"[^A-Za-z]+", name.removesuffix(".gz").removesuffix(".ndjson")):
        if word in USED:
            return word
        if word[:1].isupper():
            try:
                get_fhir_model_class(word)
            except (KeyError, ValueError):
                continue
            return word
    return ""


def files_of(directory: Path) -> list[ExportFile]:
    """The files of an export that may hold something the rules use. Raises ExportError."""
    if not directory.is_dir():
        raise ExportError(f"{directory}: there is no such directory")
    paths = sorted(
        p for p in directory.rglob("*") if p.name.endswith((".ndjson", ".ndjson.gz")) and p.is_file()
    )
    if not paths:
        raise ExportError(
            f"{directory}: there is no *.ndjson or *.ndjson.gz file in it; a FHIR Bulk Data export is expected"
        )
    found = [ExportFile(p, str(p.relative_to(directory)), _type_in(p.name), p.stat().st_size) for p in paths]
    used = [f for f in found if not f.type_name or f.type_name in USED]
    if not any(not f.type_name or f.type_name in MEDICATION_RECORDS for f in used):
        raise ExportError(
            f"{directory}: no file holds medication records ({', '.join(MEDICATION_RECORDS)}), so nobody can be found on clozapine"
        )
    return used


def _open(path: Path) -> tuple[IO[bytes], IO[bytes]]:
    """The content, and the file itself (whose position shows how much was read)."""
    file = path.open("rb")
    if path.name.endswith(".gz"):
        return gzip.GzipFile(fileobj=file), file  # type: ignore[return-value]
    return file, file


def lines(file: ExportFile, faults: Faults, on_bytes: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; blank ones are left out.

    Args:
        file: what to read.
        faults: told of what cannot be read: a file damaged half-way, lines that are too long.
        on_bytes: told how many bytes of the file were read since the last call.
    """
    seen = number = 0
    try:
        content, file_itself = _open(file.path)
    except OSError as error:
        faults.add(file.name, f"cannot be opened: {error.strerror}")
        return
    with file_itself, content:
        while True:
            number += 1
            try:
                line = content.readline(_LONGEST_LINE)
                too_long = len(line) == _LONGEST_LINE and not line.endswith(b"\n")
                while too_long and (rest := content.readline(_LONGEST_LINE)):
                    if rest.endswith(b"\n"):
                        break
            except (OSError, EOFError, zlib.error):
                faults.add(f"{file.name}:{number}", "the file is damaged; the rest of it was not read")
                return
            if not line:
                break
            if number % 1000 == 0:
                position = file_itself.tell()
                on_bytes(position - seen)
                seen = position
            if too_long:
                faults.add(f"{file.name}:{number}", "longer than any resource; left out")
            elif not line.isspace():
                yield number, line
    on_bytes(file.size - seen)


def patient_in(peek: Peek) -> str:
    """id of the patient a resource belongs to; empty when it names none."""
    if peek.resourceType == "Patient":
        return peek.id if isinstance(peek.id, str) else ""
    subject = peek.subject or peek.patient
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        return ""
    target = read_reference(reference)
    return target.id if target.form == "urn" or target.type == "Patient" else ""


def peeked(raw: bytes) -> Peek | None:
    """Type, id and subject of a line; None when it is not a JSON object with a resourceType."""
    try:
        found = _peek.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found if isinstance(found.resourceType, str) else None
