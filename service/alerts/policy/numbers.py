"""The unit and the bounds of every number of a policy: declared once, beside the field, and held against each file that is read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from msgspec import Struct


class Quantity(Struct, frozen=True):
    """What a number of a policy is measured in, and between which bounds it can be meant.

    The bounds are no clinical limits: they are wide, and tell a slip of the unit or of a digit (a CRP of 8 for 8 mg/dL, a daily
    maximum of 9 mg) from a number a protocol might hold. They are this service's own.

    Args:
        unit: UCUM-like, as written in the files; "" for a factor or a number of things.
        low: the smallest number that can be meant.
        high: the largest.
        or_zero: 0 is meant, too (the lowest band begins there).
    """

    unit: str
    low: float
    high: float
    or_zero: bool = False

    def allows(self, number: float) -> bool:
        """True when a number lies within the bounds."""
        return self.low <= number <= self.high or (self.or_zero and number == 0)

    @property
    def expected(self) -> str:
        """The bounds in words: ``20 to 300 mg/L``."""
        zero = "0, or " if self.or_zero else ""
        return f"{zero}{self.low:g} to {self.high:g}{f' {self.unit}' if self.unit else ''}"


def wrong_numbers(part: Any, path: str = "") -> Iterator[str]:
    """Sentences (``path: what is wrong, what was expected``) on numbers of a policy, or of a part of it, in a foreign unit or out of bounds."""
    kind: type = type(part)
    for name, quantity in _quantities(kind).items():
        where = f"{path}.{name}" if path else name
        value = getattr(part, name)
        if quantity is not None:
            yield from _wrong(where, value, quantity)
        elif isinstance(value, Struct):
            yield from wrong_numbers(value, where)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Struct):
                    yield from wrong_numbers(item, f"{where}[{name_of(item) or index}]")


def name_of(item: Any) -> str:
    """The name of a band, phase, tier or test; bands of one name are told apart by population and count."""
    known: dict[str, Any] = item if isinstance(item, dict) else _named_fields(item)
    name = next((str(known[key]) for key in ("name", "id", "label", "kind") if known.get(key)), "")
    return f"{known['population']} {known['analyte']} {name}" if "analyte" in known else name


def _named_fields(item: Struct) -> dict[str, Any]:
    wanted = ("name", "id", "label", "kind", "population", "analyte")
    return {field: getattr(item, field) for field in wanted if field in item.__struct_fields__}


def _wrong(where: str, value: Any, quantity: Quantity) -> Iterator[str]:
    unit = getattr(value, "unit", "")
    if unit and unit != quantity.unit:
        expected = f"{quantity.unit!r}" if quantity.unit else "none"
        yield f"{where}: the unit {unit!r} is foreign here, expected {expected}"
        return
    for number in _numbers(value):
        if not quantity.allows(number):
            yield f"{where}: {number:g} is out of bounds, expected {quantity.expected}"


def _numbers(value: Any) -> Iterator[float]:
    """The number of a cited value, a number itself, or those of a list."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Struct):
        yield from _numbers(getattr(value, "value", None))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@cache
def _quantities(kind: type) -> dict[str, Quantity | None]:
    """Field -> its quantity, None for a field that is no number."""
    if not issubclass(kind, Struct):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    return {field: _quantity_in(hints[field]) for field in kind.__struct_fields__}


def _quantity_in(hint: Any) -> Quantity | None:
    if get_origin(hint) is Annotated:
        return next((extra for extra in hint.__metadata__ if isinstance(extra, Quantity)), None)
    return next((found for part in get_args(hint) if (found := _quantity_in(part)) is not None), None)
