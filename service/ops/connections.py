"""Lines: the connections to one counterpart each – a site's FHIR server, the key servers, the terminology server.

A line lets so many requests be under way at once; more wait for a place, inside the deadline of their call. That alone keeps one slow
server from taking connections that others need. It also watches its pool: httpcore (1.0.9, encode/httpcore #1093) loses connections of
requests that are cancelled at an unlucky moment, until none is left and nothing works before a restart. A pool that has lost connections
is replaced, and the log, a metric and the health document say so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

import httpx

from service.fhir.client import LeftAlone
from service.ops.breaker import Breaker
from service.ops.outbound import Address, Guard, GuardedTransport, IPNetwork, tls_context

log = logging.getLogger("service.outbound")

#: Requests of one line under way at once.
PLACES = 100
#: Connections that a pool holds beyond its places: so many may be lost without a request having to wait, then the pool is replaced.
_SPARE = 25
#: A request that has a place has a connection too, or can open one at once. One that waits longer than this waits in a pool that is stuck.
_POOL_SECONDS = 0.25
#: The longest wait for a place; calls of EHRs have deadlines that are shorter.
_PATIENCE_SECONDS = 10.0
#: All places taken and none given back for so long: longer than any time-out of a request.
_STILL_SECONDS = 30.0
#: All places taken for so long is worth a warning.
_FULL_SECONDS = 5.0
#: For so long the health document speaks of a pool that was replaced.
_SPOKEN_OF_SECONDS = 600.0

OpenTransport = Callable[[], GuardedTransport]


class _Stuck(httpx.PoolTimeout):
    """A request that had a place waited for a connection in vain."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__("the connections are stuck")
        self.pool = pool


class _Pool:
    """One connection pool, its places, and the requests that are in it."""

    def __init__(self, transport: GuardedTransport, places: int) -> None:
        self.transport = transport
        self.places = asyncio.Semaphore(places)
        self.under_way = 0
        self.retired = False

    @property
    def lost(self) -> int:
        """Connections that no request uses and that will never be free: with HTTP/1.1 every busy one belongs to one request."""
        connections = self.transport.pool.connections
        if len(connections) <= self.under_way:
            return 0
        busy = sum(1 for c in connections if not (c.is_idle() or c.is_closed()))
        return max(0, busy - self.under_way)


class Line(httpx.AsyncBaseTransport):
    """The connections to one counterpart, for one event loop.

    Args:
        name: for log, metrics and health: ``fhir north``, ``keys``, ``terminology``.
        open_transport: opens a connection pool.
        places: requests under way at once.
        on_renewed: told when the pool was replaced.
        clock: seconds, monotonic.
        breaks: a server that keeps call after call waiting is left alone for a moment.
    """

    def __init__(
        self,
        name: str,
        open_transport: OpenTransport,
        *,
        places: int = PLACES,
        on_renewed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        breaks: bool = False,
    ) -> None:
        self.name = name
        self._breaker = Breaker(clock, self._broke) if breaks else None
        self.places = places
        self._open = open_transport
        self._on_renewed = on_renewed
        self._clock = clock
        self._pool = _Pool(open_transport(), places)
        self._waiting = 0
        self._full_since: float | None = None
        self._moved_at = clock()
        self._looking = False
        self._renewed_at: float | None = None
        self._renewals = 0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """Requests under way."""
        return self._pool.under_way

    @property
    def left_alone(self) -> bool:
        """Whether the server is left alone."""
        return self._breaker is not None and self._breaker.rests

    @property
    def problem(self) -> str:
        """What is wrong with the line now, in a sentence; empty when nothing is."""
        now = self._clock()
        if self.left_alone:
            return f"{self.name}: the server kept call after call waiting; it is asked again every few seconds, and calls go unread until it answers"
        if self._full_since is not None and now - self._full_since >= _FULL_SECONDS:
            return f"{self.name}: all {self.places} requests at once have been under way for {now - self._full_since:.0f} s; the server is slow"
        if self._renewed_at is not None and now - self._renewed_at < _SPOKEN_OF_SECONDS:
            return f"{self.name}: the connections were stuck and were renewed {now - self._renewed_at:.0f} s ago ({self._renewals} times in all)"
        return ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises PoolTimeout when no place becomes free in time, LeftAlone when the server is left alone."""
        breaker = self._breaker
        if breaker is None:
            return await self._tried(request)
        if not breaker.admits():
            raise LeftAlone("the server is left alone")
        began = self._clock()
        try:
            response = await self._tried(request)
        except BaseException:
            breaker.failed(began)  # the end of a call's deadline comes as a cancellation
            raise
        assert isinstance(response.stream, _Counted)
        response.stream.heard = lambda whole: breaker.answered() if whole else breaker.failed(began)
        return response

    async def _tried(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._sent(request)
        except _Stuck as stuck:
            self._renew(stuck.pool, "a request that had a place got no connection")
        return await self._sent(request)

    def _broke(self, left_alone: bool) -> None:
        if left_alone:
            log.warning(
                "the server of %s keeps call after call waiting and is left alone for a moment", self.name
            )
        else:
            log.warning("the server of %s answers again", self.name)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        pool = await self._entered()
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException as error:
            self._leave(pool)
            self._look_soon()
            if isinstance(error, httpx.PoolTimeout):
                raise _Stuck(pool) from None
            raise
        response.stream = _Counted(response.stream, lambda: self._leave(pool))
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.transport.aclose()
        for task in list(self._closing):
            with suppress(Exception):
                await task

    async def _entered(self) -> _Pool:
        """A place, and the pool that it is in. Raises PoolTimeout."""
        pool = self._pool
        if pool.places.locked():
            now = self._clock()
            if self._full_since is None:
                self._full_since = now
            elif now - self._moved_at >= _STILL_SECONDS:
                self._renew(pool, "no request ended")
                pool = self._pool
            self._waiting += 1
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await pool.places.acquire()
            except TimeoutError:
                raise httpx.PoolTimeout("no place became free in time") from None
            finally:
                self._waiting -= 1
        else:
            await pool.places.acquire()  # at once
        pool.under_way += 1
        return pool

    def _leave(self, pool: _Pool) -> None:
        pool.under_way -= 1
        pool.places.release()
        self._moved_at = self._clock()
        if not self._waiting:
            self._full_since = None
        if pool.retired and not pool.under_way:
            self._close(pool)

    def _look_soon(self) -> None:
        """Look for lost connections once the requests that end together have ended: many are cancelled by one deadline."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        lost = self._pool.lost
        if lost >= max(1, self._pool.transport.size - self.places):
            self._renew(self._pool, f"{lost} of {self._pool.transport.size} were lost")

    def _renew(self, pool: _Pool, why: str) -> None:
        """Replace a pool. Requests that are in it may end there; it is closed after the last."""
        if pool is not self._pool:
            return  # another request has seen it first
        self._pool = _Pool(self._open(), self.places)
        pool.retired = True
        self._full_since = None
        self._moved_at = self._renewed_at = self._clock()
        self._renewals += 1
        log.warning("the connections of %s were renewed: %s", self.name, why)
        self._on_renewed()
        if not pool.under_way:
            self._close(pool)

    def _close(self, pool: _Pool) -> None:
        task = asyncio.get_running_loop().create_task(pool.transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning(
                "old connections of %s could not be closed (%s)", self.name, type(task.exception()).__name__
            )


def client_of(line: Line) -> httpx.AsyncClient:
    """A client over a line: no redirects, no proxies or credentials from the environment."""
    return httpx.AsyncClient(
        transport=line,
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(10.0, pool=_POOL_SECONDS),
    )


class _Counted(httpx.AsyncByteStream):
    """The body of an answer; says once when it has ended."""

    def __init__(self, stream: object, ended: Callable[[], None]) -> None:
        assert isinstance(stream, httpx.AsyncByteStream)
        self._stream = stream
        self._ended: Callable[[], None] | None = ended
        #: Told once whether the server answered: False when the body was waited for in vain.
        self.heard: Callable[[bool], None] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except GeneratorExit:  # its reader has had enough
            raise
        except BaseException:
            self._tell(False)
            raise

    def _tell(self, whole: bool) -> None:
        heard, self.heard = self.heard, None
        if heard is not None:
            heard(whole)

    async def aclose(self) -> None:
        """See httpx."""
        ended, self._ended = self._ended, None
        self._tell(True)
        try:
            await self._stream.aclose()
        finally:
            if ended is not None:
                ended()


class Lines:
    """All lines of one event loop, each opened when it is first wanted.

    Args:
        private_networks: networks that are not public and may be called all the same.
        ca_file: certificates (PEM) trusted besides the public ones.
        on_renewed: told the name of a line whose pool was replaced.
    """

    def __init__(
        self,
        private_networks: Iterable[IPNetwork] = (),
        ca_file: Path | None = None,
        *,
        on_renewed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._networks = tuple(private_networks)
        # Reading certificates takes tens of milliseconds: once, before the first call, for all lines.
        self._context = tls_context(ca_file)
        self._on_renewed = on_renewed
        self._lines: dict[tuple[str, str], tuple[Line, httpx.AsyncClient]] = {}

    def client(
        self, name: str, to: str, listed: Callable[[], Collection[Address]], *, breaks: bool = False
    ) -> httpx.AsyncClient:
        """The client of a line: no redirects, no proxies or credentials from the environment.

        Args:
            name: of the line.
            to: tells lines of one name apart, such as a base URL; it is never shown.
            listed: hosts and ports it may call.
            breaks: a server that keeps call after call waiting is left alone for a moment.
        """
        known = self._lines.get((name, to))
        if known is None:
            guard = Guard(listed, self._networks)
            line = Line(
                name,
                lambda: GuardedTransport(guard, self._context, PLACES + _SPARE),
                on_renewed=lambda: self._on_renewed(name),
                breaks=breaks,
            )
            known = self._lines[name, to] = line, client_of(line)
        return known[1]

    def under_way(self) -> dict[str, int]:
        """Requests under way, by name of the line."""
        found: dict[str, int] = {}
        for (name, _), (line, _) in list(self._lines.items()):
            found[name] = found.get(name, 0) + line.under_way
        return found

    def left_alone(self) -> dict[str, int]:
        """Servers that are left alone, by name of the line."""
        found: dict[str, int] = {}
        for (name, _), (line, _) in list(self._lines.items()):
            found[name] = found.get(name, 0) + line.left_alone
        return found

    @property
    def problems(self) -> str:
        """What is wrong with lines now; empty when nothing is."""
        return "; ".join(line.problem for line, _ in list(self._lines.values()) if line.problem)

    async def aclose(self) -> None:
        """Close all connections."""
        for _, client in list(self._lines.values()):
            await client.aclose()
        self._lines.clear()
