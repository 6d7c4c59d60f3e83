"""HTTP/1.1 for uvicorn, with limits before there is a request: heads, connections, and clients that are still sending.

uvicorn's httptools protocol (0.54) bounds neither the size of a head nor its time, and ends an idle connection only after a first request;
its h11 protocol takes a size (``h11_max_incomplete_event_size``) and no time. Another server would be another event loop and other
ways to stop; a subclass of a page is less.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from cds_hooks import operation_outcome
from service.ops.stopping import Stopping

#: Headers that ask for another protocol. None is spoken here, so the request goes on as if they were not there (RFC 9110, 7.8).
_UPGRADE = frozenset({b"upgrade", b"http2-settings"})
_SENTENCES = {
    400: ("structure", "The request is not HTTP/1.1."),
    408: ("timeout", "The head of the request was not complete in time."),
    431: ("too-long", "The head of the request is too large."),
    503: ("transient", "There are too many connections. Call again in a moment."),
}


class _HeadRefused(Exception):
    """Leaves the parser; the status is answered."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class LimitedProtocol(HttpToolsProtocol):
    """One connection.

    ``limit_concurrency`` of uvicorn's configuration is the number of connections; one more takes the place of the one that has waited
    longest without a complete head, or is turned away.
    """

    #: Bytes of a head: request line and headers.
    head_bytes = 65_536
    #: Headers of one request.
    head_lines = 200
    #: For a head, from the moment that it may come. Idle connections are closed by ``timeout_keep_alive``.
    head_seconds = 10.0
    #: For so long a client that was answered before it had sent everything may go on sending, so that it comes to read the answer.
    linger_seconds = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.most_connections = self.limit_concurrency
        self.limit_concurrency = None
        #: None in an application that does not say when it stops.
        self._stopping: Stopping | None = self.app_state.get("stopping")
        self._receiving: str = ""
        self._came = 0
        self._refused = 0
        self._lingering = False
        self._clock: asyncio.TimerHandle | None = None
        #: Since when the connection waits for a head; None while a request is answered.
        self.waits_since: float | None = None

    # -- of asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        full = self.most_connections is not None and len(self.connections) >= self.most_connections
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        if full and not self._make_room():
            self._refuse(503)
            return
        self._start_clock(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._lingering:
            return
        self._unset_keepalive_if_required()
        self._came += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._refused or 400)
            return
        if self._receiving == "head" and self._came > self.head_bytes:
            self._refuse(431)
        elif self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._clock is None:  # a head that has begun, or the rest of a body that nobody reads
            self._start_clock(self.head_seconds if self._receiving != "body" else self.linger_seconds)

    # -- of the parser

    def on_message_begin(self) -> None:
        """See httptools."""
        self._receiving = "head"
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        # What came holds the head, so a head is counted only where it could be too large.
        if len(self.headers) > self.head_lines or (self._came > self.head_bytes and self._is_too_large()):
            self._refused = 431
            raise _HeadRefused(431)
        if self.parser.should_upgrade():
            return  # see _go_on_without_upgrade
        self._receiving = "body"
        self.waits_since = None
        super().on_headers_complete()
        if self._stopping is not None and self._stopping.begun:
            self.cycle.keep_alive = False  # its client sends the next call elsewhere
        if not self.cycle.keep_alive:
            self.cycle.transport = _Closing(self.transport, self)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.parser.should_upgrade():
            return
        self._receiving = ""
        self._came = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self.waits_since = self.loop.time()
        super().on_response_complete()

    # -- own

    def close_gently(self) -> None:
        """Close; while the client is still sending only what is sent to it ends, for a reset would take the answer from it."""
        if self._receiving == "" or self.transport.is_closing():
            self.transport.close()
            return
        self._lingering = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_clock(self.linger_seconds)

    def _is_too_large(self) -> bool:
        return len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > self.head_bytes

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Java's HttpClient offers HTTP/2 with every first request (``Upgrade: h2c``); the parser then leaves the body aside."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(400)
            return
        head = [method + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name == b"connection":
                kept = [t for t in value.split(b",") if t.strip().lower() not in _UPGRADE]
                value = b",".join(kept)
            if name not in _UPGRADE and value:
                head.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._came = 0
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def _make_room(self) -> bool:
        """End the connection that has waited longest for a head: first of those that never had one."""
        waiting = [
            c
            for c in self.connections
            if c is not self and isinstance(c, LimitedProtocol) and c.waits_since is not None
        ]
        if not waiting:
            return False
        longest = min(waiting, key=lambda c: (c.cycle is not None, c.waits_since or 0.0))
        self._tell("made-room")
        longest.transport.abort()
        return True

    def _refuse(self, status: int) -> None:
        """Answer what is no request, and close."""
        code, sentence = _SENTENCES[status]
        self._tell(str(status))
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        body = operation_outcome(sentence, code=code)
        self.transport.write(
            STATUS_LINE[status] + b"content-type: application/json\r\ncache-control: no-store\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n" + body
        )
        self._receiving = self._receiving or "head"
        self.close_gently()

    def _tell(self, reason: str) -> None:
        refused = self.app_state.get("connection_refused")
        if refused is not None:
            refused(reason)

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._time_is_up)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _time_is_up(self) -> None:
        self._clock = None
        if self.transport.is_closing():
            return
        if self._receiving == "head" and not self._lingering:
            self._refuse(408)
        else:
            self.transport.close()


class _Closing:
    """The transport of an answer after which the connection ends."""

    def __init__(self, transport: asyncio.Transport, protocol: LimitedProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Once the answer is written."""
        self._protocol.close_gently()
