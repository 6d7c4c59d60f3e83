"""Sentences as data: every id a rule names stands in the catalogue with its parameters, and none stands there unused."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest

from service.alerts.say.language import english, parsed
from service.alerts.say.sentence import (
    Count,
    Counted,
    Day,
    Dose,
    Hours,
    Listed,
    Moment,
    Number,
    Param,
    Quantity,
    Record,
    Sent,
    Sentence,
    Term,
    Written,
    sentence,
)

_SERVICE = Path(__file__).parents[2] / "service"
_ID = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")


def _pattern(node: ast.expr) -> str | None:
    """The ids that an expression may name, as a pattern; None for a name that is decided elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            re.escape(str(v.value)) if isinstance(v, ast.Constant) else "[a-z0-9.-]*" for v in node.values
        )
    if isinstance(node, ast.IfExp):
        one, other = _pattern(node.body), _pattern(node.orelse)
        return f"(?:{one}|{other})" if one is not None and other is not None else None
    return None


def _named() -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """(where, pattern of ids, names of parameters) of every sentence in the code; None where the parameters are not written there."""
    for path in sorted(_SERVICE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            where = f"{path.name}:{node.lineno}"
            if node.func.id in ("sentence", "because") and node.args:
                found = _pattern(node.args[0])
                names = (
                    None
                    if any(k.arg is None for k in node.keywords)
                    else frozenset(str(k.arg) for k in node.keywords)
                )
            elif node.func.id == "Sentence" and node.args:
                found, names = _pattern(node.args[0]), None
            else:
                continue
            if found is not None:
                yield where, found, names


@cache
def _constants() -> frozenset[str]:
    """Every string in the code that looks like an id: tables of ids are written so."""
    return frozenset(
        node.value
        for path in _SERVICE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ID.fullmatch(node.value)
    )


def test_every_sentence_that_the_code_names_exists_with_its_parameters() -> None:
    templates = english().templates
    wrong = []
    for where, pattern, names in _named():
        ids = [id for id in templates if re.fullmatch(pattern, id)]
        if not ids:
            wrong.append(f"{where}: no sentence {pattern!r}")
        for id in ids:
            wanted = {name for _, name in templates[id] if name}
            if names is not None and wanted != names:
                wrong.append(f"{where}: {id} wants {sorted(wanted)}, given {sorted(names)}")
    assert not wrong, "\n".join(wrong)


def test_no_sentence_is_left_that_nothing_names() -> None:
    patterns = [re.compile(pattern) for _, pattern, _ in _named()]
    unused = [
        id
        for id in english().templates
        if id not in _constants() and not any(p.fullmatch(id) for p in patterns)
    ]
    assert not unused


def test_sections_of_one_file_stand_in_no_other() -> None:
    import tomllib

    where = defaultdict(set)
    for path in (_SERVICE / "alerts" / "say" / "en").glob("*.toml"):
        if path.name != "forms.toml":
            for section in tomllib.loads(path.read_text()):
                where[section].add(path.name)
    assert not {s: f for s, f in where.items() if len(f) > 1}


@pytest.mark.parametrize("template", ["{}", "{a!r}", "{a:.2f}", "{a.b", "{a} }"])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(ValueError):
        parsed(template)


@pytest.mark.parametrize(
    ("param", "markdown", "summary"),
    [
        (Number(2.50), "2.5", "2.5"),
        (Quantity(512, "ms", 0), "512 ms", "512 ms"),
        (Quantity(120, "mm[Hg]", 0), "120 mm\\[Hg\\]", "120 mm[Hg]"),
        (Count(1499.6), "1499/µL", "1499/µL"),
        (Dose(12.5), "12.5 mg", "12.5 mg"),
        (Day(date(2026, 11, 20)), "2026-11-20", "2026-11-20"),
        (Day(None), "unknown date", "unknown date"),
        (Moment(datetime(2026, 11, 20, 9, 5, tzinfo=UTC)), "2026-11-20 09:05", "2026-11-20 09:05"),
        (Hours(47.6), "2 days", "2 days"),
        (Hours(47.4), "47 h", "47 h"),
        (Hours(75), "3 days 3 h", "3 days 3 h"),
        (Counted(1), "1 day", "1 day"),
        (Counted(3), "3 days", "3 days"),
        (Record("a <b> *c*"), "a &lt;b&gt; \\*c\\*", "a ‹b› *c*"),
        (Sent("<0.04\nng"), "‹0.04 ng", "‹0.04 ng"),
        (Term("drug", "lithium", "lithium", first=True), "Lithium", "Lithium"),
        (Written("a *b*"), "a *b*", "a *b*"),
        (Listed((Dose(1), Dose(2), Dose(3))), "1 mg, 2 mg and 3 mg", "1 mg, 2 mg and 3 mg"),
        (Listed((Dose(1), Dose(2)), last=""), "1 mg, 2 mg", "1 mg, 2 mg"),
        (Listed((Dose(1),)), "1 mg", "1 mg"),
        (Listed(()), "", ""),
        (Sentence("course.day", {"day": Number(3, 0)}), "Day 3 of clozapine.", "Day 3 of clozapine."),
    ],
)  # fmt: skip
def test_parameters_are_written(param: Param, markdown: str, summary: str) -> None:
    said = sentence("result.fact", line=param)
    assert english().markdown(said) == f"{markdown}."
    assert english().summary(said) == f"{summary}."
