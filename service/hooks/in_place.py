"""How much of a call is judged in place: what turns out to be more work, or more data, than its size shows goes aside before it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Any, TypeVar

from msgspec import Struct

from cds_hooks.stopping import Stopped, unless
from service.alerts.facts.record_text import metered
from service.fhir.client import Server

T = TypeVar("T")
#: Characters between two looks at the clock.
_CHARACTERS = 200


class InPlace(Struct, frozen=True):
    """The most that is judged in place.

    Args:
        size: bytes of a body, and of a FHIR server's pages beside it. Measured: records made to be slow take up to 0.7 ms a kB, ordinary ones
            0.005 ms; to send a body aside costs about a millisecond.
        seconds: processor seconds for reading texts, which can be far more work than their length shows.
    """

    size: int = 100_000
    seconds: float = 0.03


class TooMuchInPlace(BaseException):
    """The call is to be judged aside. No ``Exception``: it is the fault of no record that is being read.

    Args:
        pages: what a FHIR server has answered so far, by query.
    """

    def __init__(self, pages: dict[str, bytes]) -> None:
        super().__init__()
        self.pages = pages


@contextmanager
def reading(limit: InPlace | None, pages: dict[str, bytes]) -> Iterator[None]:
    """Read texts within. Raises TooMuchInPlace once it takes too long."""
    if limit is None:
        yield
        return
    until, waiting = thread_time() + limit.seconds, 0

    def meter(characters: int) -> None:
        nonlocal waiting
        waiting += characters
        if waiting > _CHARACTERS:
            waiting = 0
            if thread_time() > until:
                raise TooMuchInPlace(pages)

    with metered(meter):
        yield


class Pages:
    """A FHIR server whose pages are kept until it is known where the call is judged.

    Args:
        server: the server.
        most: bytes that are read in place; the page that exceeds them is kept and handed to nobody.
        read: where the pages are kept, by query.
    """

    def __init__(self, server: Server, most: int, read: dict[str, bytes]) -> None:
        self._server = server
        self._left = most
        self._too_much = asyncio.Event()
        self.base_url = server.base_url
        self.read = read

    async def get(self, query: str) -> bytes:
        """A page. Raises FetchFailed."""
        page = self.read[query] = await self._server.get(query)
        self._left -= len(page)
        if self._left < 0:
            self._too_much.set()
            await asyncio.Event().wait()  # nobody reads it here; whoever watches ends the call's reading
        return page

    async def watched(self, reading: Coroutine[Any, Any, T]) -> T:
        """What reads the pages, ended once they are too much. Raises TooMuchInPlace."""
        try:
            return await unless(self._too_much.wait(), reading)
        except Stopped:
            raise TooMuchInPlace(self.read) from None
