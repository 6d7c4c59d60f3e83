"""Why something was not read, or how it was read: an id of the catalogue and what stands in it, so that no language is written where facts are made.

``service.alerts.say.language`` holds the words (``reading.toml`` of each language). What stands in a reason is text of the record, a number,
another reason, or several of them; it is escaped and cut where it is shown, with the words around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, TypeAlias

#: Text of the record (or a name of the data: of a type, an exception), a number, a day, a reason within a reason, or several of these.
Value: TypeAlias = "str | int | float | date | Reason | tuple[Value, ...]"


class Reason:
    """An id of the catalogue (``section.name``) with its parameters; false where there is nothing to say. Compared by content."""

    __slots__ = ("id", "params")

    id: str
    params: Mapping[str, Value]

    def __init__(self, id: str = "", params: Mapping[str, Value] | None = None) -> None:
        self.id = id
        self.params = params or {}

    def __bool__(self) -> bool:
        return bool(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and (self.id, self.params) == (other.id, other.params)

    def __hash__(self) -> int:
        return hash((self.id, *self.params.items()))

    def __repr__(self) -> str:
        return f"{self.id}({', '.join(f'{name}={value!r}' for name, value in sorted(self.params.items()))})"


def because(id: str, **params: Value) -> Reason:
    """A reason by its id: ``because("unit.not-of-this-result", unit="mmol/L")``."""
    return Reason(id, params)


#: There is nothing to say: it was read.
NO_REASON = Reason()
#: What an older version of this service stored in words: shown as it is.
_IN_WORDS = "reading.in-words"
#: How a day is stored.
_DAY = "day"


def stored(reason: Reason) -> str:
    """A reason as text for the database; empty where there is none.

    Versions before reasons were data kept words in the same place: they still load what this one writes, and this one what they wrote.
    """
    return json.dumps(_built(reason), ensure_ascii=False) if reason else ""


def restored(text: str) -> Reason:
    """A reason from the database."""
    if not text:
        return NO_REASON
    if not text.startswith("{"):
        return Reason(_IN_WORDS, {"text": text})
    restored = _rebuilt(json.loads(text))
    assert isinstance(restored, Reason)
    return restored


def _built(value: Any) -> Any:
    if isinstance(value, Reason):
        return {"because": value.id, **{name: _built(v) for name, v in value.params.items()}}
    if isinstance(value, date):
        return {_DAY: value.isoformat()}
    return [_built(v) for v in value] if isinstance(value, tuple) else value


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict):
        if _DAY in value:
            return date.fromisoformat(value[_DAY])
        return Reason(value["because"], {name: _rebuilt(v) for name, v in value.items() if name != "because"})
    return tuple(_rebuilt(v) for v in value) if isinstance(value, list) else value
