"""RxNorm release files (RRF) to product codes: every product, brand, pack and NDC that leads to a drug of the knowledge files.

Columns as in the RxNorm technical documentation, sections 12.4 (RXNCONSO), 12.6 (RXNREL), 12.5 (RXNSAT). Kept is what leads
to a named drug, and what is made of drugs that are known and draw no card.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from service.alerts.knowledge import ndc
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.no_card import is_known_without_card

SYSTEM = "http://www.nlm.nih.gov/research/umls/rxnorm"
#: Term types by how near they are to a package on the shelf: ingredients, their forms and brands, products, packs.
_RANK = {
    "IN": 0, "PIN": 0, "MIN": 0,
    "BN": 1, "SCDC": 1, "SCDF": 1, "SCDG": 1, "SBDC": 1, "SBDF": 1, "SBDG": 1, "SCDFP": 1, "SCDGP": 1, "SBDFP": 1,
    "SCD": 2, "SBD": 2, "GPCK": 3, "BPCK": 3,
}  # fmt: skip
#: Relations that say what something is made of, in either direction; the ranks tell which way to read them.
_MADE_OF = frozenset(
    {
        "has_ingredient", "ingredient_of", "has_ingredients", "ingredients_of", "has_precise_ingredient", "precise_ingredient_of",
        "consists_of", "constitutes", "contains", "contained_in", "tradename_of", "has_tradename", "form_of", "has_form",
        "isa", "inverse_isa", "has_part", "part_of",
    }
)  # fmt: skip
_COLUMNS = {"RXNCONSO.RRF": 18, "RXNREL.RRF": 16, "RXNSAT.RRF": 13}
_DATE_IN_NAME = re.compile(r"(\d{8})")


class TerminologyError(ValueError):
    """Release files that cannot be used; the message names the file and what was expected."""


class Entry(Struct, frozen=True):
    """One code."""

    system: str
    code: str
    drugs: tuple[str, ...]
    label: str


class Release(Struct):
    """What a release gives."""

    name: str
    entries: list[Entry]
    products: int


class _Files:
    """The three files, in a folder or in the release's zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        self.names: dict[str, str] = {}
        if path.is_dir():
            for wanted in _COLUMNS:
                found = sorted(
                    p
                    for p in path.rglob("*")
                    if p.name.upper() == wanted and "prescribe" not in str(p).lower()
                )
                found = found or sorted(p for p in path.rglob("*") if p.name.upper() == wanted)
                if found:
                    self.names[wanted] = str(found[0])
        elif path.is_file() and zipfile.is_zipfile(path):
            self.archive = zipfile.ZipFile(path)
            for wanted in _COLUMNS:
                inside = sorted(
                    n
                    for n in self.archive.namelist()
                    if n.upper().endswith(f"/{wanted}") or n.upper() == wanted
                )
                # The archive also holds a "prescribe" subset: the whole release comes first.
                full = [n for n in inside if "prescribe" not in n.lower()]
                if inside:
                    self.names[wanted] = (full or inside)[0]
        else:
            raise TerminologyError(f"{path}: a folder or the zip file of an RxNorm release is expected")
        missing = [wanted for wanted in _COLUMNS if wanted not in self.names]
        if missing:
            raise TerminologyError(f"{path}: {', '.join(missing)} of an RxNorm release is missing")

    def size(self) -> int:
        """Bytes of all three files, unpacked."""
        if self.archive is not None:
            return sum(self.archive.getinfo(n).file_size for n in self.names.values())
        return sum(Path(n).stat().st_size for n in self.names.values())

    @contextmanager
    def _open(self, wanted: str) -> Iterator[IO[bytes]]:
        name = self.names[wanted]
        with self.archive.open(name) if self.archive is not None else Path(name).open("rb") as file:
            yield file

    def rows(self, wanted: str, on_bytes: Callable[[int], None]) -> Iterator[list[str]]:
        """Rows of a file. Raises TerminologyError for one that is not laid out as an RRF file."""
        columns = _COLUMNS[wanted]
        waiting = 0
        with self._open(wanted) as raw:
            for number, line in enumerate(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"), 1):
                fields = line.rstrip("\r\n").split("|")
                # Every RRF line ends with a separator.
                if len(fields) != columns + 1:
                    raise TerminologyError(
                        f"{wanted}, line {number}: {columns} columns separated by | are expected, found {len(fields) - 1}"
                    )
                waiting += len(line)
                if waiting > 1_000_000:
                    on_bytes(waiting)
                    waiting = 0
                yield fields
        on_bytes(waiting)

    @property
    def release(self) -> str:
        """The date in the release's name, as RxNorm writes it (MMDDYYYY), or the name itself."""
        found = _DATE_IN_NAME.search(self.path.name)
        if found is None:
            return self.path.name[:100]
        stamp = found.group(1)
        return f"RxNorm {stamp[4:]}-{stamp[:2]}-{stamp[2:4]}"


def size_of(path: Path) -> int:
    """Bytes that :func:`read_release` will read. Raises TerminologyError."""
    return _Files(path).size()


def read_release(path: Path, on_bytes: Callable[[int], None] = lambda n: None) -> Release:
    """Read a release.

    Args:
        path: a folder with the RRF files, or the zip archive.
        on_bytes: told how many more bytes were read.

    Raises TerminologyError naming the file and what was expected.
    """
    files = _Files(path)
    names: dict[str, str] = {}
    ranks: dict[str, int] = {}
    types: dict[str, str] = {}
    for row in files.rows("RXNCONSO.RRF", on_bytes):
        rxcui, source, term_type, text = row[0], row[11], row[12], row[14]
        if source == "RXNORM" and term_type in _RANK and rxcui not in names:
            names[rxcui], ranks[rxcui], types[rxcui] = text, _RANK[term_type], term_type
    if not names:
        raise TerminologyError("RXNCONSO.RRF: it holds no RXNORM concept")
    made_into: dict[str, set[str]] = defaultdict(set)
    for row in files.rows("RXNREL.RRF", on_bytes):
        first, second, relation, source = row[0], row[4], row[7], row[10]
        if source != "RXNORM" or relation not in _MADE_OF or first not in ranks or second not in ranks:
            continue
        low, high = (first, second) if ranks[first] < ranks[second] else (second, first)
        if ranks[low] < ranks[high]:
            made_into[low].add(high)
        elif {types[low], types[high]} in ({"IN", "PIN"}, {"SCD", "SBD"}):
            generic, specific = (low, high) if types[low] in ("IN", "SCD") else (high, low)
            made_into[generic].add(specific)
    drugs = _reached(names, ranks, made_into)
    entries = [
        Entry(SYSTEM, rxcui, tuple(sorted(found)), names[rxcui][:500]) for rxcui, found in drugs.items()
    ]
    codes: dict[str, Entry] = {}
    for row in files.rows("RXNSAT.RRF", on_bytes):
        rxcui, attribute, value = row[0], row[8], row[10]
        if attribute == "NDC" and rxcui in drugs:
            forms = ndc.candidates(value)
            if len(forms) == 1:
                codes[forms[0]] = Entry(ndc.SYSTEM, forms[0], tuple(sorted(drugs[rxcui])), names[rxcui][:500])
    products = sum(ranks[rxcui] >= 2 for rxcui in drugs)
    return Release(files.release, [*entries, *codes.values()], products)


def _reached(
    names: dict[str, str], ranks: dict[str, int], made_into: dict[str, set[str]]
) -> dict[str, set[str]]:
    """Concepts whose drugs are known, with those that interact: from the ingredients up to the packs.

    A product of nothing but drugs that draw no card is known, too, and leads to none; one ingredient nobody knows leaves it unknown.
    """
    ingredients: dict[str, set[str]] = {rxcui: {rxcui} for rxcui in names if ranks[rxcui] == 0}
    waiting = list(ingredients)
    while waiting:
        low = waiting.pop()
        for high in made_into.get(low, ()):
            known = ingredients.setdefault(high, set())
            if not ingredients[low] <= known:
                known |= ingredients[low]
                waiting.append(high)
    drugs = {rxcui: set(drugs_by_name(names[rxcui])) for rxcui in names if ranks[rxcui] == 0}
    harmless = {rxcui for rxcui in drugs if not drugs[rxcui] and is_known_without_card(names[rxcui])}
    found: dict[str, set[str]] = {}
    for rxcui, made_of in ingredients.items():
        leads_to = set().union(*(drugs[i] for i in made_of))
        if leads_to or made_of <= harmless:
            found[rxcui] = leads_to
    return found
