"""Every citation of the specification leads to a section that exists in ``docs/spec``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec"
_FILES = [
    path
    for folder in ("service", "cds_hooks", "tests", "tools", "bench", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".toml", ".html")
    and SPEC not in path.parents
    and path.name != Path(__file__).name
]
_NUMBERS = r"\d+(?:\.\d+)?[a-z]?"
_CLINICAL = re.compile(rf"clinical\.md (?:sections? )?({_NUMBERS}(?:(?:–|, | and ){_NUMBERS})*)")
_LINES = r"[A-Z]\d+[a-z]?(?:(?:–|, | and )[A-Z]\d+[a-z]?)*"
_CHECKLIST = re.compile(rf"(?:checklist|cds-hooks\.md) ({_LINES})")
_CONTRACT = re.compile(r"contract(?:\.md)?,? \"([^\"]+)\"")


def _headings(name: str) -> set[str]:
    text = (SPEC / name).read_text(encoding="utf-8")
    return set(re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE))


def _sections() -> set[str]:
    return {m[1].rstrip(".") for h in _headings("clinical.md") if (m := re.match(r"([\d.]+)", h))}


def _lines() -> set[str]:
    text = (SPEC / "cds-hooks.md").read_text(encoding="utf-8")
    # Several short lines of the checklist share one line of the page.
    return set(re.findall(r"(?:^|\.   )([A-Z]\d+[a-z]?) ", text, re.MULTILINE))


def _cited(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(file, what is cited) of every citation."""
    for path in _FILES:
        for match in pattern.finditer(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(ROOT)), match[1]


def test_clinical_sections_exist() -> None:
    cited = list(_cited(_CLINICAL))
    assert len(cited) > 60
    known = _sections()
    missing = [(f, n) for f, text in cited for n in re.findall(_NUMBERS, text) if n not in known]
    assert missing == []


def test_lines_of_the_checklist_exist() -> None:
    cited = list(_cited(_CHECKLIST))
    assert len(cited) > 20
    known = _lines()
    assert {"J1", "R5a", "C7c", "T6", "P6", "D10", "F4a"} <= known
    missing = [(f, n) for f, text in cited for n in re.findall(r"[A-Z]\d+[a-z]?", text) if n not in known]
    assert missing == []


def test_headings_of_the_contract_exist() -> None:
    cited = list(_cited(_CONTRACT))
    assert len(cited) > 8
    headings = _headings("contract.md")
    missing = [(f, h) for f, h in cited if not any(known.startswith(h) for known in headings)]
    assert missing == []


@pytest.mark.parametrize("name", ["clinical.md", "cds-hooks.md", "contract.md"])
def test_the_specification_is_part_of_the_repository(name: str) -> None:
    assert len((SPEC / name).read_text(encoding="utf-8")) > 5000
