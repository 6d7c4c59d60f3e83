"""The page of a policy shows every number of it, in HTML and in Markdown alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest

from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.alerts.policy.sheet import sheet
from service.web.pages import policy_page
from tests.alerts.test_policy_diff import _numbers
from tools.generated import policy_page as markdown


@pytest.mark.parametrize("policy_id", policy_ids())
def test_a_change_of_any_number_changes_the_page(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    content = json.loads(msgspec.json.encode(policy))
    shown = sheet(policy)
    for path in _numbers(content):
        changed = json.loads(json.dumps(content))
        node = changed
        for step in path[:-1]:
            node = node[step]
        if "recovery" in path and node[path[-1]] == 0:
            continue  # this kind of recovery has no such number
        node[path[-1]] += 1
        assert sheet(msgspec.convert(changed, Policy)) != shown, path


@pytest.mark.parametrize("policy_id", policy_ids())
def test_html_and_markdown_hold_the_same_tables(policy_id: str) -> None:
    policy = policy_by_id(policy_id)
    page, text = policy_page(policy), markdown(policy)
    headings = [t.title for t in sheet(policy)]
    assert re.findall(r"<h2>(.+?)</h2>", page) == [*headings, "Sources"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [*headings, "Sources"]
    cells = sum(len(row) for t in sheet(policy) for row in t.rows)
    assert page.count("<td>") == cells + 3 * len(policy.sources)
    for table in sheet(policy):
        for row in table.rows:
            assert all(cell.replace("|", "\\|") in text for cell in row)


def test_what_was_missing_from_the_page_is_there() -> None:
    text = markdown(policy_by_id("uk-smpc"))
    for words in (
        "| wbc minimum | >= 3500 cells/µL | UK-SmPC 4.4 |",
        "| extra gap | > 72 h |",
        "| supply by interval | 7 → 7; 14 → 14; 28 → 28 |",
        "| early threshold | 38 °C | TRS-C Fever | **not confirmed** |",
        "| crp stop | 100 mg/L |",
        "| toxic | 1000 ng/mL |",
        "## Post stop",
    ):
        assert words in text


def _remarks(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of the remarks of a policy, and of the policy that took its place."""
    children: Iterable[tuple[str | int, Any]] = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for key, child in children:
        if key in ("note", "superseded_by"):
            yield (*path, key)
        elif key != "earlier":
            yield from _remarks(child, (*path, key))


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_remark_is_on_the_page(policy_id: str) -> None:
    content = json.loads(msgspec.json.encode(policy_by_id(policy_id)))
    paths = list(_remarks(content))
    for number, path in enumerate(paths):
        node = content
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = f"remark {number}."
    shown = markdown(msgspec.convert(content, Policy))
    missing = [path for number, path in enumerate(paths) if f"remark {number}." not in shown]
    assert paths
    assert not missing


def test_a_value_nobody_confirmed_is_marked_on_the_page() -> None:
    assert (
        '<td>early threshold</td><td>38 °C</td><td>TRS-C Fever</td><td><span class="unconfirmed">not confirmed</span></td>'
        in policy_page(policy_by_id("us-label-2025"))
    )
