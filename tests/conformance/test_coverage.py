"""Every line of the checklist has a test named after its number."""

from __future__ import annotations

import re
from pathlib import Path

NUMBERS = [
    *(f"J{n}" for n in range(1, 4)),
    *(f"D{n}" for n in range(1, 11)),
    *(f"R{n}" for n in range(1, 7)), "R5a", "R5b",
    *(f"P{n}" for n in range(1, 7)),
    *(f"A{n}" for n in range(1, 4)),
    *(f"C{n}" for n in range(1, 13)), "C7a", "C7b", "C7c",
    *(f"F{n}" for n in range(1, 6)), "F4a",
    *(f"T{n}" for n in range(1, 7)),
]  # fmt: skip


def test_every_number_has_a_test() -> None:
    source = "\n".join(p.read_text() for p in Path(__file__).parent.glob("test_?_*.py"))
    tested = set(re.findall(r"def test_([A-Z]\d+[a-z]?)_", source))
    assert [n for n in NUMBERS if n not in tested] == []
    assert sorted(tested - set(NUMBERS)) == []
