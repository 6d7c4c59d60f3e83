"""Kinds of what nobody understands (``knowledge/not_understood.toml``): what a card says of each, and what a site can do about it."""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load


class NotUnderstood(Struct, frozen=True):
    """One kind of the ledger, in words."""

    #: What it is.
    means: str
    #: When a card says so.
    said: str
    #: What a site can do; empty: nothing need be done.
    remedy: str


class _Table(Struct):
    kind: dict[str, NotUnderstood]


@cache
def not_understood_kinds() -> dict[str, NotUnderstood]:
    """Every kind of the ledger by its id."""
    return msgspec.convert(load("not_understood.toml"), _Table).kind
