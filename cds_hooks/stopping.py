"""Work that is given up once something else happens: its caller leaves, or it turns out to be too much."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Receive

from cds_hooks.errors import ProtocolError

T = TypeVar("T")


class Stopped(Exception):
    """What the work was to be given up for has happened."""


class CallerGone(ProtocolError):
    """499, for the log and the metrics: nobody reads it."""

    def __init__(self) -> None:
        super().__init__(499, "The caller has gone; nothing was checked.", code="incomplete")


async def unless(stop: Coroutine[Any, Any, object], work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises Stopped when ``stop`` ends first; then, or when this is cancelled, the work is cancelled."""
    task, watch = asyncio.create_task(work), asyncio.create_task(stop)
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Stopped
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def while_wanted(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work on a call whose body was read. Raises CallerGone when its connection ends first."""
    try:
        return await unless(_gone(receive), work)
    except Stopped:
        raise CallerGone from None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
