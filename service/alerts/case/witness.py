"""What one witness says of the last dose: the chart, the supply, or the patient's and the prescriber's word (clinical.md 2.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

Basis = Literal["administration", "withheld", "statement", "stop", "supply", "update", "rhythm", ""]
#: Of a last dose that nobody saw or stated: it is estimated.
ESTIMATED: frozenset[Basis] = frozenset({"supply", "update", "rhythm"})
#: The last charted dose may not be the last one taken: the stay has ended and an order for home runs on, the patient was on leave, or has
#: supply of before. ``""``: no doubt.
Doubt = Literal["", "home", "leave", "supply"]


class LastDose(Struct, frozen=True, gc=False):
    """The last dose taken, as one witness knows it."""

    #: None: nothing tells.
    at: datetime | None = None
    date_only: bool = False
    basis: Basis = ""
    #: The record that tells.
    ref: str = ""
    #: The dose was taken at that time or earlier, and nobody knows how much: it is only said that the drug is not taken.
    or_earlier: bool = False
    #: When it was said; None = at the time it speaks of.
    said: datetime | None = None


NOTHING_TELLS = LastDose()
