"""The checklist of OWASP ASVS 4.0.3 level 2 names every requirement once, and tests that exist; so does the threat model."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tools.asvs import Line, lines

_TESTS = Path(__file__).parents[1]
_MODEL = _TESTS.parent / "docs/security/threat-model.md"
#: Numbers of level 2 in each section, without those that were deleted and those of level 3 alone.
_LEVEL_2 = {
    "1.1": "1-7", "1.2": "1-4", "1.4": "1 4 5", "1.5": "1-4", "1.6": "1-4", "1.7": "1-2", "1.8": "1-2", "1.9": "1-2", "1.10": "1",
    "1.11": "1-2", "1.12": "2", "1.14": "1-6",
    "2.1": "1-12", "2.2": "1-3", "2.3": "1-3", "2.4": "1-5", "2.5": "1-7", "2.6": "1-3", "2.7": "1-6", "2.8": "1-7", "2.9": "1-3", "2.10": "1-4",
    "3.1": "1", "3.2": "1-4", "3.3": "1-4", "3.4": "1-5", "3.5": "1-3", "3.7": "1",
    "4.1": "1-3 5", "4.2": "1-2", "4.3": "1-3",
    "5.1": "1-5", "5.2": "1-8", "5.3": "1-10", "5.4": "1-3", "5.5": "1-4",
    "6.1": "1-3", "6.2": "1-6", "6.3": "1-2", "6.4": "1-2",
    "7.1": "1-4", "7.2": "1-2", "7.3": "1 3 4", "7.4": "1-3",
    "8.1": "1-4", "8.2": "1-3", "8.3": "1-8",
    "9.1": "1-3", "9.2": "1-4",
    "10.2": "1-2", "10.3": "1-3",
    "11.1": "1-8",
    "12.1": "1-3", "12.2": "1", "12.3": "1-6", "12.4": "1-2", "12.5": "1-2", "12.6": "1",
    "13.1": "1 3-5", "13.2": "1-3 5-6", "13.3": "1-2", "13.4": "1-2",
    "14.1": "1-4", "14.2": "1-6", "14.3": "2-3", "14.4": "1-7", "14.5": "1-4",
}  # fmt: skip


def _numbers() -> list[str]:
    found = []
    for section, ranges in _LEVEL_2.items():
        for part in ranges.split():
            first, _, last = part.partition("-")
            found += [f"{section}.{n}" for n in range(int(first), int(last or first) + 1)]
    return found


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _exists(test: str) -> bool:
    file, _, function = test.partition("::")
    return (_TESTS / file).is_file() and function in _functions(file)


def test_every_requirement_is_named_once() -> None:
    named = [number for line in lines() for number in line.numbers]
    assert len(named) == len(set(named))
    assert sorted(named) == sorted(_numbers())


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.numbers[0])
def test_each_line_has_its_test_or_a_reason(line: Line) -> None:
    assert line.state in ("held", "none", "site", "open")
    assert line.about
    if line.state == "held":
        assert line.tests
        assert not line.why
    else:
        assert line.why
    assert [test for test in line.tests if not _exists(test)] == []


def test_the_threats_name_tests_that_exist() -> None:
    named = re.findall(r"`tests/([\w/]+\.py(?:::\w+)?)`", _MODEL.read_text())
    assert len(named) > 20
    assert [
        test for test in named if not (_exists(test) if "::" in test else (_TESTS / test).is_file())
    ] == []


def test_the_test_can_fail() -> None:
    assert not _exists("trust/test_asvs.py::test_that_nobody_wrote")
    assert not _exists("trust/test_of_nothing.py::test_the_test_can_fail")
