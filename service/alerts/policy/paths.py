"""A policy as statements by path: what a comparison that must miss nothing walks over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields, replace

from service.alerts.policy.numbers import name_of
from service.alerts.policy.policy import Policy

Path = tuple[str, ...]
#: What a statement is besides what it states: where it comes from, and how sure it is.
_BASIS = ("source", "section", "confirmed", "note")
#: Parts of a policy that no rule reads: they tell the reader what the policy is and where it comes from.
_ABOUT = frozenset(
    {
        "jurisdiction",
        "summary",
        "notes",
        "sources",
        "main_source",
        "valid_from",
        "valid_to",
        "superseded_by",
        "confirmations",
    }
)
#: Two policies always differ in these.
_OWN_NAMES = frozenset({"id", "title", "inherits", "shared_from", "earlier"})
_TYPES = {f.name: f.type for f in fields(Policy)}
_ABSENT = "–"
_LONGEST = 160


class Difference(Struct, frozen=True):
    """One statement in which two policies differ. ``basis``: a source, a remark or a confirmation; what rules read is the same."""

    path: Path
    before: str
    after: str
    basis: bool = False

    @property
    def written(self) -> str:
        """The path as it stands in a file: ``bands.general anc mild.every_days``."""
        return ".".join(self.path)


class Comparison:
    """Two policies side by side."""

    def __init__(self, one: Policy, other: Policy) -> None:
        self.one = one
        self._before: dict[str, Any] = msgspec.to_builtins(one)
        self._after: dict[str, Any] = msgspec.to_builtins(other)

    def differences(self) -> Iterator[Difference]:
        """Every statement in which the policies differ, in the order of the file; their names are none."""
        for name, before in self._before.items():
            if name not in _OWN_NAMES:
                yield from _compare((name,), before, self._after[name], name in _ABOUT)

    def with_one(self, path: Path) -> Policy | None:
        """The first policy with the one statement at ``path`` as the second has it; None where that alone makes no policy."""
        name = path[0]
        try:
            part = msgspec.convert(_put(self._before[name], self._after[name], path[1:]), _TYPES[name])
        except (msgspec.ValidationError, LookupError):
            return None
        return replace(self.one, **{name: part})


def _compare(path: Path, before: Any, after: Any, about: bool) -> Iterator[Difference]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _compare_tables(path, before, after, about)
    elif _is_named(before) and _is_named(after):
        here, there = _by_name(before), _by_name(after)
        for name in (*here, *(n for n in there if n not in here)):
            yield from _compare((*path, name), here.get(name), there.get(name), about)
        if list(here) != list(there) and here.keys() == there.keys():
            yield Difference(path, " / ".join(here), " / ".join(there), about)
    else:
        yield Difference(path, _text(before), _text(after), about)


def _compare_tables(
    path: Path, before: dict[str, Any], after: dict[str, Any], about: bool
) -> Iterator[Difference]:
    if "value" in before or "value" in after:
        shown = _value(before), _value(after)
        if shown[0] != shown[1]:
            yield Difference(path, *shown, about)
        rest: tuple[str, ...] = ()
    else:
        rest = tuple(key for key in {**before, **after} if key not in _BASIS)
    for key in rest:
        # The source of a list of numbers stands in a key beside it.
        cites = key == "sampling" or key.endswith(("_source", "_confirmed"))
        yield from _compare((*path, key), before.get(key), after.get(key), about or cites)
    basis = _basis(before), _basis(after)
    if basis[0] != basis[1]:
        yield Difference(path, *basis, basis=True)


def _is_named(node: Any) -> bool:
    return isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node)


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    return {name_of(item) or str(index): item for index, item in enumerate(items)}


def _put(node: Any, wanted: Any, path: Path) -> Any:
    if not path or node is None or wanted is None:
        return wanted
    if isinstance(node, dict):
        return {**node, path[0]: _put(node.get(path[0]), wanted.get(path[0]), path[1:])}
    here, there = _by_name(node), _by_name(wanted)
    if path[0] not in there:
        return [item for name, item in here.items() if name != path[0]]
    return list({**here, path[0]: _put(here.get(path[0]), there[path[0]], path[1:])}.values())


def _value(node: dict[str, Any]) -> str:
    parts = node.get("comparator"), _text(node.get("value")), node.get("unit")
    return " ".join(str(part) for part in parts if part)


def _basis(node: dict[str, Any]) -> str:
    """Where a statement comes from, in one line: ``UK-SmPC 4.4, not confirmed; from week 19 on``."""
    if "source" not in node:
        return ""
    said = " ".join(str(node[key]) for key in ("source", "section") if node.get(key))
    doubt = ", not confirmed" if node.get("confirmed") is False else ""
    note = f"; {node['note']}" if node.get("note") else ""
    return f"{said}{doubt}{note}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " / ".join(map(_text, value)) or _ABSENT
    if isinstance(value, dict) and value.get("says"):
        return str(value["says"])  # a whole band or tier that the other policy has not: its words tell it
    if isinstance(value, dict):
        text = "; ".join(
            f"{key} {_text(child)}" for key, child in value.items() if child not in (None, "", ())
        )
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return _ABSENT if value in (None, "") else str(value)
