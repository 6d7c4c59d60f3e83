"""Prose of a policy that names its numbers: ``"… when CRP is over {crp_stop} mg/L"``, filled when the file is read.

So that the words on a card and the number a rule reads cannot differ: a site that changes one changes both. A name is looked up
in the table the text stands in, in a band also as ``{band name.key}`` among the bands of the same population and count, and
else from the top of the policy (``{dosing.daily_maximum}``, ``{schedule.weekly.until_day:weeks}``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NAMED = re.compile(r"\{([^{}:]+)(?::([a-z]+))?\}")
_TIMES = {1: "once", 2: "twice"}
_WORDS = ("zero", "one", "two", "three", "four", "five", "six")
_WEEK = 7
_OFTEN = {1: "daily", 7: "weekly", 14: "every two weeks", 28: "every four weeks"}


class ProseError(ValueError):
    """A text that names what is not there, or in a way nobody knows."""


def _plain(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e6 else f"{number:.0f}"


def _weeks(days: float) -> str:
    weeks = days / _WEEK
    return _counted(weeks, "week") if weeks == int(weeks) else _days(days)


def _often(days: float) -> str:
    return _OFTEN.get(int(days), f"every {_days(days)}") if days == int(days) else f"every {_days(days)}"


def _weekly(days: float) -> str:
    """How often a week, of days that lie between two counts at most: of four days twice."""
    if not 1 < days < _WEEK:
        return _often(days)
    times = math.ceil(_WEEK / days)
    return f"{_TIMES.get(times) or f'{_WORDS[times]} times'} weekly"


def _days(days: float) -> str:
    return _counted(days, "day")


def _counted(number: float, what: str) -> str:
    return f"{_plain(number)} {what}{'' if number == 1 else 's'}"


#: How a number is said: ``{until_day:weeks}`` → "18 weeks".
_FORMS: Mapping[str, Callable[[float], str]] = {
    "": _plain,
    "spaced": lambda n: f"{n:,.0f}".replace(",", " "),
    "last": lambda n: _plain(n - 1),
    "days": _days,
    "weeks": _weeks,
    "indays": lambda hours: _days(hours / 24),
    "often": _often,
    "weekly": _weekly,
    "times": lambda n: _TIMES.get(int(n), f"{_plain(n)} times") if n == int(n) else f"{_plain(n)} times",
    "words": lambda n: _WORDS[int(n)] if n == int(n) and 0 <= n < len(_WORDS) else _plain(n),
}


def filled(policy: dict[str, Any]) -> dict[str, Any]:
    """The TOML of a whole policy with every text filled. Raises ProseError with the path of a text that cannot be."""
    return _Filling(policy).table((), policy)


class _Filling:
    """One policy being filled."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.policy = policy

    def table(self, path: tuple[str, ...], table: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._node((*path, key), child, table) for key, child in table.items()}

    def _node(self, path: tuple[str, ...], node: Any, table: Mapping[str, Any]) -> Any:
        if isinstance(node, str):
            return _NAMED.sub(lambda m: self._said(m, path, table), node) if "{" in node else node
        if isinstance(node, list):
            return [self._node((*path, _name(item) or str(i)), item, table) for i, item in enumerate(node)]
        return self.table(path, node) if isinstance(node, dict) else node

    def _said(self, match: re.Match[str], path: tuple[str, ...], table: Mapping[str, Any]) -> str:
        steps, form = match[1].strip().split("."), match[2] or ""
        places = (table, self._bands_like(table), self.policy)
        found = next((f for place in places if (f := _find(place, steps)) is not None), None)
        if isinstance(found, str) and not form:
            return found
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ProseError(f"{'.'.join(path)}: {match[0]} in the text is no number of this policy")
        if form not in _FORMS:
            known = ", ".join(filter(None, _FORMS))
            raise ProseError(
                f"{'.'.join(path)}: {match[0]} in the text cannot be said so, expected one of {known}"
            )
        return _FORMS[form](found)

    def _bands_like(self, band: Mapping[str, Any]) -> list[Any]:
        """Bands of the same population and count; none for what is no band."""
        if "analyte" not in band:
            return []
        same = band.get("population"), band["analyte"]
        return [b for b in self.policy.get("bands", ()) if (b.get("population"), b.get("analyte")) == same]


def _name(item: Any) -> str:
    known = (item.get(key) for key in ("name", "label", "id")) if isinstance(item, dict) else ()
    return next((str(name) for name in known if name), "")


def _find(node: Any, steps: Sequence[str]) -> Any:
    """What stands at a path; items of a list are found by name, a cited value is its number."""
    for step in steps:
        if isinstance(node, list):
            node = next((item for item in node if _name(item) == step), None)
        else:
            node = node.get(step) if isinstance(node, Mapping) else None
    return node.get("value") if isinstance(node, Mapping) else node
