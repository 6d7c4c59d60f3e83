"""A number line cut at limits: what holds at, between and beyond them (for comparing policies)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct

Answer = TypeVar("Answer")


class Piece(Struct, frozen=True):
    """A stretch of the number line; ``upper`` None = without end. ``inside`` is a number that lies in it."""

    lower: float
    upper: float | None
    lower_belongs: bool
    upper_belongs: bool
    inside: float

    def text(self, unit: str, number: Callable[[float], str] = lambda v: f"{v:g}") -> str:
        """The stretch in words: ``1000 to < 1500/µL``, ``> 48 to < 72 h``, ``48 h exactly``."""
        if self.upper is None:
            return f"{'≥' if self.lower_belongs else '>'} {number(self.lower)}{unit}"
        if self.lower == self.upper:
            return f"exactly {number(self.lower)}{unit}"
        upper = f"{'≤' if self.upper_belongs else '<'} {number(self.upper)}{unit}"
        if self.lower == 0 and self.lower_belongs:
            return upper
        return f"{'' if self.lower_belongs else '> '}{number(self.lower)} to {upper}"


def pieces(limits: Iterable[float]) -> list[Piece]:
    """The number line from 0 on, cut at limits: each limit by itself and what lies between two of them."""
    cuts = sorted({0.0, *limits})
    found: list[Piece] = []
    for index, cut in enumerate(cuts):
        found.append(Piece(cut, cut, True, True, cut))
        following = cuts[index + 1] if index + 1 < len(cuts) else None
        inside = (cut + following) / 2 if following is not None else cut + 1
        found.append(Piece(cut, following, False, False, inside))
    return found


def stretches(limits: Iterable[float], answer: Callable[[float], Answer]) -> list[tuple[Piece, Answer]]:
    """The pieces with the answer that holds in each; neighbours with one answer are one stretch."""
    found: list[tuple[Piece, Answer]] = []
    for piece in pieces(limits):
        here = answer(piece.inside)
        if found and found[-1][1] == here:
            before = found[-1][0]
            joined = Piece(
                before.lower, piece.upper, before.lower_belongs, piece.upper_belongs, before.inside
            )
            found[-1] = (joined, here)
        else:
            found.append((piece, here))
    return found
