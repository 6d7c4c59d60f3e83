"""The second pass: everything about patients on clozapine, sorted into files small enough to be held in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from msgspec import Struct, field

from service.backtest.export import OF_PATIENT, ExportFile, Faults, lines, patient_in, peeked
from service.backtest.relevance import Marks

#: Open files at a time; systems commonly allow 1024.
_MOST_FILES = 500
_BUFFER = 16 * 1024
#: Compressed exports are taken to be so many times as large.
_GZIP = 10


class Partitioned(Struct):
    """What the pass over all files gave."""

    paths: list[Path]
    lines: int = 0
    kept: int = 0
    #: Resource types that occur in the export, of any patient.
    types: set[str] = field(default_factory=set)
    faults: Faults = field(default_factory=Faults)


def partition(
    files: list[ExportFile],
    relevant: Marks,
    directory: Path,
    bytes_each: int,
    on_bytes: Callable[[int], None],
) -> Partitioned:
    """Sort the lines of relevant patients into files by patient.

    Args:
        files: the export.
        relevant: patients to keep.
        directory: where the files go.
        bytes_each: size of a file at most, if every line were kept (bounds the memory of the evaluation).
        on_bytes: told of progress.
    """
    total = sum(f.size * (_GZIP if f.path.name.endswith(".gz") else 1) for f in files)
    count = max(1, min(_MOST_FILES, -(-total // bytes_each)))
    done = Partitioned([directory / f"{index:03d}" for index in range(count)])
    with ExitStack() as stack:
        outputs: list[IO[bytes]] = [
            stack.enter_context(path.open("wb", buffering=_BUFFER)) for path in done.paths
        ]
        for file in files:
            for number, raw in lines(file, done.faults, on_bytes):
                done.lines += 1
                peek = peeked(raw)
                if peek is None:
                    done.faults.add(f"{file.name}:{number}", "not a FHIR resource in JSON")
                    continue
                done.types.add(peek.resourceType)
                if peek.resourceType not in OF_PATIENT:
                    continue
                patient = patient_in(peek)
                if not patient or patient not in relevant:
                    continue
                if not patient.isprintable():
                    done.faults.add(f"{file.name}:{number}", "the patient's id holds control characters")
                    continue
                done.kept += 1
                key = patient.encode()
                output = outputs[zlib.crc32(key) % count]
                output.write(
                    b"%b\t%b:%d\t%b\n"
                    % (key, file.name.encode(errors="replace").replace(b"\t", b" "), number, raw.strip())
                )
    return done


def patients_in(path: Path) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Each patient of one file with the lines (``file:line``, resource), in the order of ids."""
    found: dict[bytes, list[tuple[str, bytes]]] = {}
    with path.open("rb") as file:
        for line in file:
            patient, where, raw = line.split(b"\t", 2)
            found.setdefault(patient, []).append((where.decode(), raw))
    for patient in sorted(found):
        yield patient.decode(), found.pop(patient)
