"""A number a rule reads is on the page; a number on the page is read by a rule. (That every number of a policy is on its page: ``test_policy_sheet``.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from msgspec import Struct

import service.alerts
from service.alerts.evaluate import evaluate
from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.schedule import UnlessStated
from service.alerts.policy.policy import POLICY_FILES, Policy, load_policy, policy_ids
from tests.alerts.vignette import patients
from tests.data import NOW

_ALERTS = Path(service.alerts.__path__[0])
#: Numbers that may stand bare: none, one, units of time and of shares; and two, where something is counted.
_UNITS = {0, 1, 7, 24, 60, 100, 3600, 86400}
_TWO = 2


# -- no number in rule code -----------------------------------------------------------------------------------


def _bare_numbers(tree: ast.AST) -> Iterator[ast.Constant]:
    """Numbers that something is compared with, counted by or measured in, and that have no name."""
    for node in ast.walk(tree):
        operands: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.BinOp):
            operands = [node.left, node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "timedelta":
            operands = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.FunctionDef):
            operands = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        for operand in operands:
            if isinstance(operand, ast.Constant) and isinstance(operand.value, int | float):
                counted = isinstance(node, ast.Compare) and operand.value == _TWO
                if not isinstance(operand.value, bool) and operand.value not in _UNITS and not counted:
                    yield operand


def _without_named(tree: ast.Module) -> ast.Module:
    """The module without its named numbers: each has a comment that says where it comes from, and ``make mutations`` tries it."""
    named = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and all(isinstance(t, ast.Name) and t.id.isupper() for t in _targets(node))
    ]
    return ast.Module([node for node in tree.body if node not in named], [])


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


_MODULES = sorted(path for wing in ("case", "rules") for path in (_ALERTS / wing).glob("*.py"))


@pytest.mark.parametrize("path", _MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_number_stands_bare_in_a_rule(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [f"{path.name}:{n.lineno}: {n.value}" for n in _bare_numbers(_without_named(tree))]
    assert not found, "a clinical number belongs into the policy, any other gets a name and a reason"


@pytest.mark.parametrize(
    "code",
    [
        "if dose > 450: pass",
        "late = timedelta(days=3)",
        "limit = value * 1.05",
        "late = 2 * days > every",
        "def f(days=14): pass",
    ],
)
def test_a_bare_number_is_found(code: str) -> None:
    assert len(list(_bare_numbers(_without_named(ast.parse(code))))) == 1
    assert not list(_bare_numbers(_without_named(ast.parse("_A_DAY = timedelta(days=3)"))))


@pytest.mark.parametrize("path", _MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_named_time_or_share_says_what_it_is(path: Path) -> None:
    """A comment above it (``#:``) says why it is what it is, and why no policy holds it."""
    lines = path.read_text().splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if not isinstance(node, ast.Assign):
            continue
        numbers = [n for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
        is_time = isinstance(node.value, ast.Call) and "timedelta" in ast.dump(node.value.func)
        is_share = isinstance(node.value, ast.Constant | ast.BinOp) and any(type(n.value) is float for n in numbers)  # fmt: skip
        if is_time or is_share:
            assert lines[node.lineno - 2].startswith("#:"), f"{path.name}:{node.lineno}: {lines[node.lineno - 1]}"  # fmt: skip


# -- every number of the page is read -------------------------------------------------------------------------


def _numbers_of(kind: type[Struct]) -> Iterator[tuple[type[Struct], str]]:
    """(part, field) of every number that a part of the policy, or a part of that, declares."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name == "earlier":
            continue  # the same policy again
        if any(isinstance(extra, Quantity) for extra in _extras(hint)):
            yield kind, name
        else:
            for part in _parts(hint):
                yield from _numbers_of(part)


def _extras(hint: Any) -> Iterator[Any]:
    yield from getattr(hint, "__metadata__", ())
    if get_origin(hint) in (Union, UnionType):
        for child in get_args(hint):
            yield from _extras(child)


def _parts(hint: Any) -> Iterator[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for child in get_args(hint):
        yield from _parts(child)


def test_every_number_of_the_page_is_read_for_some_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = set(_numbers_of(Policy))
    read: set[tuple[type, str]] = set()
    for kind in {kind for kind, _ in declared}:

        def reading(self: Any, name: str, kind: type = kind) -> Any:
            read.add((kind, name))
            return object.__getattribute__(self, name)

        monkeypatch.setattr(kind, "__getattribute__", reading, raising=False)
    # Read anew: what a policy has worked out of a number it does not read again.
    fresh = {name: load_policy(POLICY_FILES / f"{name}.toml") for name in policy_ids()}
    for _, row, facts in patients():
        evaluate(facts, fresh[row.get("policy", "us-label-2025")], NOW)
    # What is not stated elsewhere is written into its places when the file is read.
    assert len(declared) > 140
    unread = {f"{kind.__name__}.{name}" for kind, name in declared - read if kind is not UnlessStated}
    assert not unread
