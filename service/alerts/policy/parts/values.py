"""What one statement of a policy is: a number, a yes or no, a sentence, a limit, each with the document it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, Struct

Comparator = Literal[">=", ">"]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A document that values cite by its short name."""

    title: str
    url: str = ""
    date: str = ""


#: Parts of a policy without which nobody can rely on it, as people name them, and their fields.
PART_OF: Mapping[str, tuple[str, ...]] = {
    "bands": ("bands",),
    "schedule": ("schedule",),
    "restart": ("missed_dose", "interruption"),
}


class Confirmation(Struct, frozen=True, forbid_unknown_fields=True):
    """A site has read the primary text of whole parts: all their numbers count as confirmed there."""

    parts: Annotated[tuple[Literal["bands", "schedule", "restart"], ...], Meta(min_length=1)]
    #: Name and office of whoever confirmed them.
    by: Annotated[str, Meta(min_length=1)]
    on: date
    #: Document and section that were read.
    text: Annotated[str, Meta(min_length=1)]


class Cited(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said with a document behind it. ``confirmed`` is false until it was read in the primary text."""

    source: str
    section: str = ""
    confirmed: bool = True


class Text(Cited, frozen=True, forbid_unknown_fields=True):
    """A cited sentence (our words) of what the protocol says or asks for."""

    value: str


class Flag(Cited, frozen=True, forbid_unknown_fields=True):
    """One cited yes/no."""

    value: bool
    note: str = ""


class Value(Cited, frozen=True, forbid_unknown_fields=True):
    """One cited number."""

    value: float
    unit: str = ""
    note: str = ""


class Limit(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cited number with the side it belongs to: whether the bound itself counts is part of the protocol."""

    comparator: Comparator

    def reached(self, quantity: float) -> bool:
        """True when ``quantity`` (same unit) is at or over the limit, as the comparator says."""
        return quantity >= self.value if self.comparator == ">=" else quantity > self.value


class Minimum(Limit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cited count (cells/µL) that must be reached; ``>`` where the bound itself does not suffice."""

    comparator: Comparator = ">="
