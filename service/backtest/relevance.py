"""Who has anything to do with clozapine: the first pass over an export, in memory of a fixed size."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC
from pathlib import Path

from service.alerts.facts.patient import CLOZAPINE
from service.backtest.export import MEDICATION_RECORDS, ExportFile, Faults, lines, patient_in, peeked
from service.fhir.decode import read_one
from service.fhir.medication import MedicationReader
from service.fhir.references import read_reference
from service.fhir.resources import (
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Reference,
)

_BITS = 1 << 24
_BATCH = 2000
OnBytes = Callable[[int], None]
LocalCodes = Mapping[tuple[str, str], str]


class Marks:
    """A set of names that takes 2 MB however many there are.

    A name that was marked is always found; one in many thousands is found without having been marked, which costs the
    time to look at one more patient and changes no result.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, name: str) -> None:
        """Mark a name."""
        at = zlib.crc32(name.encode()) % _BITS
        self._bits[at >> 3] |= 1 << (at & 7)

    def __contains__(self, name: str) -> bool:
        at = zlib.crc32(name.encode()) % _BITS
        return bool(self._bits[at >> 3] & 1 << (at & 7))


class Products:
    """Medication resources by id, on disk: an export may hold one for every order.

    Args:
        path: SQLite file; made by :meth:`store`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @staticmethod
    def store(path: Path, resources: Iterable[tuple[str, bytes]]) -> None:
        """Write (id, resource) pairs; of an id that comes twice the last one stays."""
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("CREATE TABLE product (id TEXT PRIMARY KEY, resource BLOB) WITHOUT ROWID")
            batch: list[tuple[str, bytes]] = []
            for pair in resources:
                batch.append(pair)
                if len(batch) >= _BATCH:
                    connection.executemany("INSERT OR REPLACE INTO product VALUES (?, ?)", batch)
                    batch.clear()
            connection.executemany("INSERT OR REPLACE INTO product VALUES (?, ?)", batch)

    def get(self, reference: Reference | None) -> Medication | None:
        """The Medication a record refers to; None when it is not in the export."""
        identifier = product_id(reference)
        if not identifier:
            return None
        if self._connection is None:
            self._connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
        row = self._connection.execute("SELECT resource FROM product WHERE id = ?", (identifier,)).fetchone()
        resource = read_one(row[0], "medications")[0] if row is not None else None
        return resource if isinstance(resource, Medication) else None

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def store_products(
    files: Iterable[ExportFile], path: Path, local_codes: LocalCodes, on_bytes: OnBytes
) -> Marks:
    """Keep the Medication resources for later; gives the ids of those with clozapine in them."""
    marks = Marks()
    reader = MedicationReader(UTC, {}, local_codes)

    def products() -> Iterator[tuple[str, bytes]]:
        # Faults are counted by the pass that reads every file.
        for file in files:
            for _, raw in lines(file, Faults(), on_bytes):
                resource = read_one(raw, "medications")[0]
                if not isinstance(resource, Medication) or not resource.id:
                    continue
                reader.products = {f"Medication/{resource.id}": resource}
                found = reader.identify(None, Reference(f"Medication/{resource.id}"), None)
                if CLOZAPINE in found.drugs:
                    marks.add(resource.id)
                yield resource.id, raw

    Products.store(path, products())
    return marks


def patients_on_clozapine(
    files: Iterable[ExportFile], products: Marks, local_codes: LocalCodes, on_bytes: OnBytes
) -> Marks:
    """Patients with any record of clozapine."""
    marks = Marks()
    reader = MedicationReader(UTC, {}, local_codes)
    for file in files:
        for _, raw in lines(file, Faults(), on_bytes):
            peek = peeked(raw)
            if peek is None or peek.resourceType not in MEDICATION_RECORDS:
                continue
            patient = patient_in(peek)
            if patient and patient not in marks and _names_clozapine(raw, reader, products):
                marks.add(patient)
    return marks


def _names_clozapine(raw: bytes, reader: MedicationReader, products: Marks) -> bool:
    record = read_one(raw, "medications")[0]
    if not isinstance(
        record, MedicationRequest | MedicationStatement | MedicationDispense | MedicationAdministration
    ):
        # It cannot be read, but it may be the only trace of clozapine.
        return CLOZAPINE.encode() in raw.lower()
    reference = record.medicationReference
    if CLOZAPINE in reader.identify(record.medicationCodeableConcept, reference, record.contained).drugs:
        return True
    identifier = product_id(reference)
    return bool(identifier) and identifier in products


def product_id(reference: Reference | None) -> str:
    """Id of the Medication that a record of an export refers to; empty for none, and for one inside the record.

    An export is of one server, whose address its files do not tell: an absolute reference is taken for one to it.
    """
    target = read_reference(reference.reference if reference is not None else None)
    return target.id if target.form == "urn" or target.type == "Medication" else ""
