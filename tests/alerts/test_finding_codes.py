"""The table of finding codes and what really is found: neither knows a code that the other does not."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace

from cds_hooks import HOOKS
from service.alerts.case.case import Case
from service.alerts.dispensing import with_refill
from service.alerts.evaluate import evaluate_case
from service.alerts.facts.patient import ORDER_HOOKS
from service.alerts.knowledge.catalogue import reason_sets
from service.alerts.knowledge.classes import classes
from service.alerts.knowledge.concerns import concerns
from service.alerts.policy.check import find_policy
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.say.cards import card_of, shown
from service.alerts.say.finding_codes import (
    HOOK_GROUPS,
    check_finding_codes,
    codes_always_said,
    finding_codes,
    stopping_codes,
    title_of,
    urgency,
)
from service.web.openapi import document
from tests.alerts.vignette import patients, practice_of
from tests.data import NOW

SERVICE = Path(__file__).parents[2] / "service"
#: Where a code is no constant, it is data: a class's, a policy's band's; or it is copied from another finding.
_FROM_DATA = {"lead.finding", "group.stopped", "band.finding", "found.code"}
_MADE_OF_FINDINGS = {"Finding", "Found"}


class _Codes(ast.NodeVisitor):
    """Codes that a module gives to findings, and what it takes them from where they are no constants."""

    def __init__(self, tree: ast.Module) -> None:
        self.constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self.calls: dict[str, list[ast.Call]] = defaultdict(list)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self.calls[node.func.id].append(node)
        self.inside: list[ast.FunctionDef] = []
        self.codes: set[str] = set()
        self.open: set[str] = set()
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.inside.append(node)
        self.generic_visit(node)
        self.inside.pop()

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _MADE_OF_FINDINGS:
            for keyword in node.keywords:
                if keyword.arg == "code":
                    self.take(keyword.value, self.inside[-1] if self.inside else None)
                elif keyword.arg == "also":
                    constants = (c.value for c in ast.walk(keyword.value) if isinstance(c, ast.Constant))
                    self.codes |= {value for value in constants if value is not None}
        self.generic_visit(node)

    def take(self, value: ast.expr, function: ast.FunctionDef | None) -> None:
        if isinstance(value, ast.Constant):
            self.codes.add(value.value)
        elif isinstance(value, ast.IfExp):
            self.take(value.body, function)
            self.take(value.orelse, function)
        elif isinstance(value, ast.Name) and value.id in self.constants:
            self.codes.add(self.constants[value.id])
        elif isinstance(value, ast.Name) and function is not None:
            names = [a.arg for a in function.args.args]
            given = (
                [c.args[names.index(value.id)] for c in self.calls[function.name]]
                if value.id in names
                else []
            )
            for argument in given:
                self.take(argument, None)
            if not given:
                self.open.add(value.id)
        else:
            self.open.add(ast.unparse(value))


@cache
def _written() -> tuple[frozenset[str], frozenset[str]]:
    """(codes in the source, what else codes are taken from)."""
    codes: set[str] = set()
    other: set[str] = set()
    for path in sorted(SERVICE.rglob("*.py")):
        text = path.read_text()
        if "Finding(" in text or "Found(" in text:
            found = _Codes(ast.parse(text))
            codes |= found.codes
            other |= found.open
    return frozenset(codes), frozenset(other)


@cache
def _in_data() -> frozenset[str]:
    """Codes of interaction classes, concerns and the bands of every policy."""
    of_classes = {c for group in classes().values() for c in (group.finding, group.stopped) if c}
    of_bands = {b.finding for p in policy_ids() for b in policy_by_id(p).bands if b.finding}
    return frozenset(of_classes | of_bands | set(concerns()))


def test_every_code_that_can_be_found_is_in_the_table_and_no_other() -> None:
    written, _ = _written()
    assert written | _in_data() == set(finding_codes())


def test_no_code_comes_from_where_this_test_does_not_look() -> None:
    written, other = _written()
    # ``code`` is the id of a concern, handed on.
    assert other == _FROM_DATA | {"code"}
    assert {"anc-missing", "angle-closure", "level-toxic", "anc-falling", "data-unavailable"} <= written


@cache
def _told() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Code -> (hooks at which a vignette tells it, sets of override reasons)."""
    seen: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for _, row, facts in patients():
        practice = practice_of(row, pathway=True)
        policy = policy_by_id(row.get("policy", "us-label-2025"))
        for hook in HOOKS:
            # Orders come with the hooks of orders alone; the record is looked at from everywhere.
            asked = replace(facts, hook=hook, drafts=facts.drafts if hook in ORDER_HOOKS else ())
            case = Case(asked, policy, NOW, practice)
            for finding in shown(with_refill(case, evaluate_case(case)), hook):
                seen[finding.code][0].add(hook)
                seen[finding.code][1].add(card_of(finding).overrides)
    return {code: (frozenset(hooks), frozenset(sets)) for code, (hooks, sets) in seen.items()}


#: Every code has a vignette, but what rests on a statement of the registry, which is in no request (tests/registry/test_statements.py).
_NOT_TOLD = {"stated-not-done"}


def test_nearly_every_code_is_told_by_some_vignette() -> None:
    assert set(finding_codes()) - set(_told()) == _NOT_TOLD


@pytest.mark.parametrize("code", sorted(set(finding_codes()) - _NOT_TOLD))
def test_a_finding_is_told_where_the_table_says(code: str) -> None:
    entry = finding_codes()[code]
    hooks, _ = _told()[code]
    assert hooks <= entry.hook_names
    for hook in entry.hooks:
        assert hooks & set(HOOK_GROUPS.get(hook, (hook,))), f"never told at {hook}"


@pytest.mark.parametrize("code", sorted(set(finding_codes()) - _NOT_TOLD))
def test_a_finding_offers_the_reasons_that_the_table_says(code: str) -> None:
    assert _told()[code][1] == set(finding_codes()[code].overrides)


def test_the_table_is_sound() -> None:
    codes = finding_codes()
    titles = [entry.title for entry in codes.values()]
    assert len(set(titles)) == len(titles)
    for entry in codes.values():
        assert entry.means.endswith(".")
        assert entry.means.count(". ") == 0
        assert len(entry.means) < 140
        assert entry.hook_names <= set(HOOKS)
        assert entry.overrides
        assert set(entry.overrides) <= set(reason_sets())
    assert set(urgency()) <= set(codes)
    assert codes_always_said() < stopping_codes() < set(codes)
    assert set(HOOK_GROUPS["orders"]) == ORDER_HOOKS
    assert set(HOOK_GROUPS["orders"]) | set(HOOK_GROUPS["visits"]) == set(HOOKS)


def test_a_code_of_an_earlier_version_still_has_a_title() -> None:
    assert title_of("anc-missing") == "ANC missing"
    assert title_of("rems-not-enrolled") == "Rems not enrolled"


def test_an_unknown_code_is_refused_with_the_nearest() -> None:
    check_finding_codes(finding_codes())
    with pytest.raises(ValueError, match="'weight-gian' is no finding code; did you mean 'weight-gain'"):
        check_finding_codes(["anc-missing", "weight-gian"])
    with pytest.raises(ValueError, match=r"'x' is no finding code; docs/findings\.md"):
        check_finding_codes(["x"])


def test_the_api_enumerates_them() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["FindingCode"]["enum"] == sorted(finding_codes())
    topic = schemas["Card"]["properties"]["source"]["properties"]["topic"]
    assert topic == {"$ref": "#/components/schemas/FindingCoding"}


def test_a_band_whose_finding_nobody_knows_is_refused(tmp_path: Path) -> None:
    """Nobody would know that it must stop, or that no override silences it."""
    text = (SERVICE / "alerts" / "policy" / "files" / "us-label-2025.toml").read_text()
    file = tmp_path / "ours.toml"
    file.write_text(
        text.replace('finding = "anc-severe-neutropenia"', 'finding = "anc-severe-neutropaenia"', 1)
    )
    with pytest.raises(ValueError, match="is no finding code; did you mean 'anc-severe-neutropenia'"):
        find_policy(file)
