"""The garbage collector, set for a service that makes many short-lived objects per call."""

from __future__ import annotations

import gc

#: Young objects between two collections: a call with thousands of results stays below it, and none of them forms a cycle.
_YOUNG = 200_000


def tune() -> None:
    """Leave what the start made out of every later collection, and collect rarely: resources and facts die by reference count."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
