"""How much of a list of dose texts is read: ``python -m tools.dose_texts TEXTS [--column NAME] [--product NAME] [--write FILE] [--against FILE]``.

``TEXTS`` is CSV with a header, the most common text first. A column ``count`` weights the texts; without one a text weighs 1/rank, which
is how the frequencies of such texts usually fall. The list that the documents speak of (56 114 distinct texts of UK practices) is not
kept here: ``tests/common_doses_textmining.csv`` of github:Selbosh/doseminer at commit 7794ef6, column ``PRESCRIPTION``.

``--write`` keeps every reading (CSV: text, mg_per_day; empty where it is not read), ``--against`` tells what changed since such a file:
lost, gained, and read otherwise, to be looked at one by one.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from service.judge import read_dose

PRODUCT = "clozapine 100 MG Oral Tablet"
_REASONS = 10


class Reading(Struct, frozen=True):
    """What a text comes to: mg per day of the product, None where it is not read, and how much the text weighs."""

    text: str
    weight: float
    mg_per_day: float | None
    reason: str = ""

    @property
    def cell(self) -> str:
        """The dose as it is kept in a file."""
        return "" if self.mg_per_day is None else f"{self.mg_per_day:g}"


class Changes(Struct, frozen=True):
    """Texts that are read otherwise than before: (text, before, now)."""

    lost: list[tuple[str, str, str]]
    gained: list[tuple[str, str, str]]
    otherwise: list[tuple[str, str, str]]


def readings(rows: Iterable[dict[str, str]], column: str, product: str = PRODUCT) -> list[Reading]:
    """Each text with its reading. Raises KeyError where a row has no such column, ValueError where its count is no number."""
    made = []
    for rank, row in enumerate(rows, 1):
        read = read_dose(row[column], product)
        weight = float(row["count"]) if "count" in row else 1 / rank
        made.append(Reading(row[column], weight, read.mg_per_day, read.reason))
    return made


def share(of: Sequence[Reading], *, weighted: bool) -> float:
    """The share of texts that are read, of 100; 0 of none."""
    weights = [(r.weight if weighted else 1.0, r.mg_per_day is not None) for r in of]
    whole = sum(weight for weight, _ in weights)
    return 100 * sum(weight for weight, read in weights if read) / whole if whole else 0.0


def changes(of: Iterable[Reading], before: dict[str, str]) -> Changes:
    """What is read otherwise than ``before`` (text to cell); a text that was not there before is passed over."""
    found = Changes([], [], [])
    for r in of:
        old = before.get(r.text, r.cell)
        if old != r.cell:
            kind = found.lost if not r.cell else found.gained if not old else found.otherwise
            kind.append((r.text, old, r.cell))
    return found


def _told(of: Sequence[Reading]) -> Iterable[str]:
    read = sum(r.mg_per_day is not None for r in of)
    yield f"{read} of {len(of)} texts are read ({share(of, weighted=False):.1f} of 100; weighted {share(of, weighted=True):.1f})"
    reasons = Counter(r.reason for r in of if r.mg_per_day is None)
    yield from (f"{many:6d}  {reason}" for reason, many in reasons.most_common(_REASONS))


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = argparse.ArgumentParser(
        prog="tools.dose_texts", description="How much of a list of dose texts is read."
    )
    options.add_argument("texts", type=Path)
    options.add_argument("--column", default="PRESCRIPTION")
    options.add_argument("--product", default=PRODUCT)
    options.add_argument("--write", type=Path)
    options.add_argument("--against", type=Path)
    given = options.parse_args(arguments)
    # Lists of clinical texts hold a stray byte of another encoding: it counts as a sign, it ends no run.
    with given.texts.open(encoding="utf-8", errors="replace", newline="") as file:
        of = readings(csv.DictReader(file), given.column, given.product)
    print("\n".join(_told(of)))
    if given.against:
        with given.against.open(encoding="utf-8", newline="") as file:
            found = changes(of, {row["text"]: row["mg_per_day"] for row in csv.DictReader(file)})
        for name, texts in (
            ("lost", found.lost),
            ("gained", found.gained),
            ("read otherwise", found.otherwise),
        ):
            print(f"{name}: {len(texts)}")
            print("".join(f"  {text} | {old or '-'} -> {new or '-'}\n" for text, old, new in texts), end="")
    if given.write:
        with given.write.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "mg_per_day"))
            writer.writerows((r.text, r.cell) for r in of)
    return 0


if __name__ == "__main__":
    sys.exit(main())
