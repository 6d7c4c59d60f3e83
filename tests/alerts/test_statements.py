"""The table of what the literature says: every code, page and file that a line names is there, and the file is about the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding_codes import finding_codes

_TESTS = Path(__file__).parent
_PAGE = _TESTS.parents[1] / "docs" / "clinical-safety" / "statements.md"


def _lines() -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in _PAGE.read_text().splitlines() if line.startswith("| ")]
    return rows[1:]


def _files(cell: str) -> list[Path]:
    named = re.findall(r"(?:vignettes/)?[a-z0-9_-]+\.(?:toml|py)", cell)
    return [
        _TESTS / ("vignettes" if f.endswith(".toml") else "") / f.removeprefix("vignettes/") for f in named
    ]


def test_the_counts_of_the_page_are_those_of_its_lines() -> None:
    carried = [row[2] for row in _lines()]
    assert len(carried) == 100
    assert set(carried) == {"yes", "partly", "no", "not a card"}
    said = re.search(
        r"(\d+) are carried, (\d+) in part, (\d+) not, and (\d+) are no matter", _PAGE.read_text()
    )
    assert said is not None
    assert [int(n) for n in said.groups()] == [
        carried.count(k) for k in ("yes", "partly", "no", "not a card")
    ]


@pytest.mark.parametrize("row", _lines(), ids=lambda row: row[0][:50])
def test_what_a_line_names_is_there(row: list[str]) -> None:
    _, _, carried, by, shown = row
    for path in _files(shown):
        assert path.is_file(), path
    for test in re.findall(r"::(test_\w+)", shown):
        assert any(f"def {test}(" in path.read_text() for path in _TESTS.glob("test_*.py")), test
    named = re.findall(r"`([a-z0-9_.-]+)`", by)
    for name in named:
        part, _, rest = name.partition(".")
        if "-" in name and not rest:
            assert name in finding_codes(), name
        elif rest:
            assert hasattr(getattr(policy_by_id("us-label-2025"), part), rest), name
    vignettes = [path for path in _files(shown) if path.suffix == ".toml"]
    codes = [name for name in named if name in finding_codes()]
    if carried == "yes" and vignettes and codes:
        assert any(code in path.read_text() for path in vignettes for code in codes), (codes, vignettes)
