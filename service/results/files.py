"""Results from a file, for engines that can only write files: NDJSON of FHIR resources, or CSV with a line for each result."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TextIO

import orjson
from msgspec import Struct

#: Of the CSV; the first five are needed.
COLUMNS = ("patient", "code", "value", "unit", "at", "id", "status")
_NEEDED = COLUMNS[:5]
#: Results of one delivery: a file of any length is taken in bounded pieces.
_PIECE = 500
_LONGEST_LINE = 1_000_000
_LOINC = "http://loinc.org"


class NoResults(ValueError):
    """The file cannot be used at all; the message says what was expected."""


class Line(Struct, frozen=True):
    """A line of a file.

    Args:
        number: its number, from 1.
        resource: the FHIR resource it makes; None where it makes none.
        why: why it makes none.
    """

    number: int
    resource: dict[str, object] | None
    why: str = ""


def read_lines(file: TextIO, form: str) -> Iterator[Line]:
    """The lines of a file of the form ``csv`` or ``ndjson``. Raises NoResults for a CSV without the needed columns."""
    return _csv(file) if form == "csv" else _ndjson(file)


def form_of(name: str) -> str:
    """``csv`` or ``ndjson``, by the name of the file."""
    return "csv" if name.endswith(".csv") else "ndjson"


def pieces(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lines in groups that fit into one delivery."""
    piece: list[Line] = []
    for line in lines:
        piece.append(line)
        if len(piece) >= _PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def bundle_of(piece: list[Line]) -> bytes:
    """The lines that make a resource, as one collection."""
    entries = [{"resource": line.resource} for line in piece if line.resource is not None]
    return orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def _ndjson(file: TextIO) -> Iterator[Line]:
    number = 0
    while text := file.readline(_LONGEST_LINE):
        number += 1
        if not text.strip():
            continue
        try:
            resource = orjson.loads(text)
        except orjson.JSONDecodeError:
            yield Line(number, None, "it is not valid JSON")
            continue
        if isinstance(resource, dict) and isinstance(resource.get("resourceType"), str):
            yield Line(number, resource)
        else:
            yield Line(number, None, "it is no FHIR resource")


def _csv(file: TextIO) -> Iterator[Line]:
    reader = csv.DictReader(file)
    names = set(reader.fieldnames or ())
    lacking, unknown = [n for n in _NEEDED if n not in names], sorted(names - set(COLUMNS))
    if lacking or unknown:
        found = f"; not known: {', '.join(unknown)}" if unknown else ""
        raise NoResults(
            f"the first line must name the columns {', '.join(_NEEDED)}, and may name {', '.join(COLUMNS[5:])}{found}"
        )
    for row in reader:
        yield _result(
            reader.line_num,
            {k: (v or "").strip() for k, v in row.items() if isinstance(k, str) and isinstance(v, str)},
        )


def _result(number: int, row: dict[str, str]) -> Line:
    """A line of the CSV as an Observation; the reader of FHIR judges its code, its value and its unit."""
    empty = [name for name in _NEEDED if not row.get(name)]
    if empty:
        return Line(number, None, f"{', '.join(empty)}: empty")
    value, comparator = row["value"], None
    for sign in ("<=", ">=", "<", ">"):
        if value.startswith(sign):
            value, comparator = value.removeprefix(sign).strip(), sign
            break
    try:
        amount = float(value)
    except ValueError:
        return Line(number, None, "value: a number is expected, such as 1.8 or <0.1")
    quantity: dict[str, object] = {"value": amount, "unit": row["unit"]}
    if comparator is not None:
        quantity["comparator"] = comparator
    resource: dict[str, object] = {
        "resourceType": "Observation",
        "status": row.get("status") or "final",
        "code": {"coding": [{"system": _LOINC, "code": row["code"]}]},
        "subject": {"reference": f"Patient/{row['patient']}"},
        "effectiveDateTime": row["at"],
        "valueQuantity": quantity,
    }
    if row.get("id"):
        resource["id"] = row["id"]
    return Line(number, resource)
