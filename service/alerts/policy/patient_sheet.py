"""The sheet for the patient that belongs to a policy: plain words, each line with its source, the numbers those of the policy.

The words stand in ``patient_sheet.toml``; a site that changes a number of its policy changes its sheet.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from service.alerts.policy.parts.schedule import MonitoringTest
from service.alerts.policy.parts.values import Limit, Source
from service.alerts.policy.policy import Policy
from service.alerts.policy.prose import filled

_WEEK = 7
_HOURS = 24
#: A year, as the schedules of organ tests count it.
_YEAR = 365
_FAHRENHEIT_PER_CELSIUS, _FAHRENHEIT_AT_ZERO = 1.8, 32


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """A line as it stands in the file; ``schedule`` and ``tests`` stand for the lines that the policy's own tables make."""

    says: str = ""
    source: str = ""
    section: str = ""
    confirmed: bool = True
    numbers: tuple[str, ...] = ()
    when: str = ""
    schedule: bool = False
    tests: bool = False


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: str
    lines: tuple[_Line, ...]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, Source]
    words: dict[str, str]
    tests: dict[str, str]
    section: tuple[_Section, ...]


class SheetLine(Struct, frozen=True):
    """One line of a sheet.

    Args:
        says: in plain words.
        basis: what says so: titles of documents with their section, first that of the words, then those of its numbers.
        confirmed: False when the words or a number were not read in the document named.
        number_open: a number of the policy in it is not confirmed.
    """

    says: str
    basis: tuple[str, ...]
    confirmed: bool = True
    number_open: bool = False


class SheetSection(Struct, frozen=True):
    """A heading, its id on the page, and its lines."""

    id: str
    title: str
    lines: tuple[SheetLine, ...]


@cache
def _file() -> _File:
    text = (files("service.alerts.policy") / "patient_sheet.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _File)


def sheet_sections() -> tuple[str, ...]:
    """Ids of the sections, which cards may link to."""
    return tuple(section.id for section in _file().section)


def patient_sheet(policy: Policy) -> tuple[SheetSection, ...]:
    """The sheet of a policy, its lines filled. Raises ProseError where a line names a number that no policy has."""
    content: dict[str, Any] = msgspec.to_builtins(policy, builtin_types=(date,))
    content["now"] = _now(policy)
    found = []
    for section in _file().section:
        lines = tuple(line for raw in section.lines for line in _lines(raw, policy, content))
        found.append(SheetSection(section.id, section.title, lines))
    return tuple(found)


def _lines(raw: _Line, policy: Policy, content: Mapping[str, Any]) -> Iterator[SheetLine]:
    if raw.schedule:
        yield from _schedule(policy)
    elif raw.tests:
        yield from _tests(policy)
    elif not raw.when or _there(content, raw.when):
        says = filled({**content, "line": {"says": raw.says}})["line"]["says"]
        basis, open_ = _basis(raw, policy)
        yield SheetLine(says, basis, raw.confirmed and not open_, open_)


def _schedule(policy: Policy) -> Iterator[SheetLine]:
    """A line for each phase of the counts."""
    words = _file().words
    conditional = [phase.needs_no_neutropenia for phase in policy.schedule]
    for n, phase in enumerate(policy.schedule):
        if phase.until_day is None:
            says = words["last_phase"].format(label=phase.label)
        elif n == 0:
            says = words["first_phase"].format(until=_weeks(phase.until_day), label=phase.label)
        else:
            week = f"{phase.until_day / _WEEK:g}"
            says = words["next_phase"].format(week=week, label=phase.label)
        if phase.needs_no_neutropenia and not any(conditional[n + 1 :]):
            # Said once, after the last of them.
            always = policy.schedule[conditional.index(True) - 1]
            says = f"{says} {words['only_without'].format(label=always.label)}"
        yield SheetLine(says, (_cited(policy, phase),), phase.confirmed, not phase.confirmed)


def _tests(policy: Policy) -> Iterator[SheetLine]:
    """A line for each organ test."""
    for test in policy.monitoring:
        says = f"{_file().tests.get(test.id, test.title)}: {', '.join(_times(test))}."
        yield SheetLine(says, (_cited(policy, test),), test.confirmed, not test.confirmed)


def _times(test: MonitoringTest) -> Iterator[str]:
    words = _file().words
    if test.baseline:
        yield words["before_start"]
    every = test.then_every_days
    days = [day for day in test.days if every is None or day < every]
    if days:
        weeks = [f"{day / _WEEK:g}" for day in days]
        key = "in_week" if len(weeks) == 1 else "in_weeks"
        yield words[key].format(weeks=" and ".join(filter(None, (", ".join(weeks[:-1]), weeks[-1]))))
    if every is not None:
        yield words["then_yearly"] if every == _YEAR else words["then_every"].format(weeks=_weeks(every))


def _now(policy: Policy) -> dict[str, Any]:
    """Words and numbers that a sheet needs and no policy holds as such."""
    first = next(iter(policy.missed_dose), None)
    restart = next(iter(policy.retitrated_gaps), None)
    extra = policy.interruption.extra
    after = policy.post_stop
    celsius = policy.fever.early_threshold.value
    return {
        "fever_fahrenheit": round(celsius * _FAHRENHEIT_PER_CELSIUS + _FAHRENHEIT_AT_ZERO, 1),
        "ask_gap": _gap(first.gap, f"{first.gap.value:g} hours")
        if first is not None and first is not restart
        else "",
        "restart_gap": _gap(restart.gap, _hours(restart.gap.value)) if restart is not None else "",
        "new_course_gap": _gap(policy.interruption.new_course, _weeks(policy.interruption.new_course.value)),
        "extra_gap": _gap(extra.gap, _hours(extra.gap.value)) if extra is not None else "",
        "extra_weeks": extra.weeks.value if extra is not None else 0,
        "stop_by_time": after.every_days is None and after.until_anc is None,
    }


def _gap(limit: Limit, said: str) -> str:
    """``48 hours or more``: the side the bound itself belongs to is part of the number."""
    return _file().words["at_least" if limit.comparator == ">=" else "more_than"].format(n=said)


def _hours(hours: float) -> str:
    days = hours / _HOURS
    return f"{days:g} days ({hours:g} hours)" if days == int(days) else f"{hours:g} hours"


def _weeks(days: float) -> str:
    weeks = days / _WEEK
    return f"{weeks:g} weeks" if weeks == int(weeks) else f"{days:g} days"


def _there(content: Any, path: str) -> bool:
    """True where the policy has something at a path that is not "no"."""
    for step in path.split("."):
        content = content.get(step) if isinstance(content, Mapping) else None
    return bool(content["value"] if isinstance(content, Mapping) and "value" in content else content)


def _basis(raw: _Line, policy: Policy) -> tuple[tuple[str, ...], bool]:
    """(titles of documents, whether a number is open) of a line."""
    cited = [_at(policy, path) for path in raw.numbers]
    own = _file().sources[raw.source].title
    said = [f"{own}, {raw.section}" if raw.section else own]
    return (
        tuple(dict.fromkeys([*said, *(_cited(policy, c) for c in cited)])),
        any(not c.confirmed for c in cited),
    )


def _at(policy: Policy, path: str) -> Any:
    """The cited value at a path; the gaps of :func:`_now` are those of the tiers."""
    if path in ("now.ask_gap", "now.restart_gap"):
        return (policy.missed_dose[0] if path == "now.ask_gap" else policy.retitrated_gaps[0]).gap
    node: Any = policy
    for step in path.split("."):
        node = getattr(node, step)
    return node


def _cited(policy: Policy, cited: Any) -> str:
    citation = policy.cite(cited)
    doubt = "" if citation.confirmed else " (not confirmed)"
    return f"{', '.join(filter(None, (citation.label, citation.section)))}{doubt}"
