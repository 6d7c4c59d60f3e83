"""The list of what the literature says: every finding, place, vignette and test that a line names is there, and shows the finding."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.alerts.policy.patient_sheet import sheet_sections
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.say.finding_codes import finding_codes
from tests.alerts.vignette import rows
from tools.statements import Statement, place, statements

_TESTS = Path(__file__).parent
_OF_THE_PATHWAY = {"test_trials.py", "test_pathway.py", "test_equivalents.py"}
_SOURCES = {"CRS", "TRS-B", "TRS-C", "IMP", "RON-2011"}


@cache
def _expected(vignettes: str) -> frozenset[str]:
    """Codes that the vignettes of a file expect."""
    stem = Path(vignettes).stem
    return frozenset(
        code.split()[0] for name, _, row in rows() if name.startswith(f"{stem}: ") for code in row["expect"]
    )


@cache
def _named(test: str) -> frozenset[str]:
    """Codes that a module of tests names; those of the pathway ask for its cards by the whole heading."""
    text = (_TESTS / test).read_text()
    pathway = {c for c, f in finding_codes().items() if f.topic.startswith("Difficult to treat")}
    named = {code for code in finding_codes() if f'"{code}"' in text}
    return frozenset(named | (pathway if test in _OF_THE_PATHWAY else set()))


def test_each_statement_stands_once_and_is_carried_or_explained() -> None:
    assert len(statements()) == len({s.says for s in statements()}) == 100
    for s in statements():
        assert bool(s.by) != bool(s.why), s.says
        assert s.sources, s.says
        assert set(s.sources) <= _SOURCES, s.says
        assert s.shown or not s.by, s.says


@pytest.mark.parametrize("s", statements(), ids=lambda s: s.says[:50])
def test_what_a_line_names_is_there(s: Statement) -> None:
    shown: set[str] = set()
    for name in s.shown:
        path, _, function = name.partition("::")
        assert not function or f"def {function}(" in (_TESTS / path).read_text(), name
        shown |= _expected(path) if path.endswith(".toml") else _named(path)
    for code in s.by:
        assert code in finding_codes(), code
        assert code in shown, f"{code} is shown by none of {s.shown}"
    for stands in s.stands:
        assert place(stands)
        _is_there(stands)


def _is_there(stands: str) -> None:
    kind, _, what = stands.partition(":")
    if kind == "patient":
        assert what in sheet_sections(), stands
    elif kind in ("pathway", "card"):
        assert what in finding_codes(), stands
    else:
        path, _, policy = what.partition("@")
        for policy_id in [policy] if policy else policy_ids():
            node: Any = msgspec.to_builtins(policy_by_id(policy_id))
            for step in path.split("."):
                assert step in node, stands
                node = node[step]
            assert node, stands
