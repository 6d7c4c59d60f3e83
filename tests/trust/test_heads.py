"""Before there is a request: heads, connections, and clients that are answered while they are still sending."""

from __future__ import annotations

import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import orjson
import pytest

from service.web.protocol import LimitedProtocol
from tests.data import call, clozapine, codes, prefetch
from tests.server import serving

_SIGN = "/cds-services/clozapine-order-sign"
_MANY = 4


class _Short(LimitedProtocol):
    """Less patient, so that a test need not be."""

    head_seconds = 0.6
    linger_seconds = 5.0


class Echo:
    """Answers with the bytes that it was sent; ``/early`` at once, unread, and ``/held`` once it is let go."""

    def __init__(self) -> None:
        self.base_url = ""
        self.refused: list[str] = []
        self.held = 0

    def wait_for(self, held: int) -> None:
        """Until so many requests are being answered."""
        while self.held < held:
            time.sleep(0.01)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["connection_refused"] = self.refused.append
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", scope["path"] != "/early"
        self.held += scope["path"] == "/held"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) or (
                scope["path"] == "/held" and message["type"] != "http.disconnect"
            )
        status = 413 if scope["path"] == "/early" else 200
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def echo() -> Iterator[Echo]:
    """With little patience and few connections."""
    app = Echo()
    with serving(app, http=_Short, limit_concurrency=_MANY) as base_url:
        app.base_url = base_url
        yield app


def _connect(echo: Echo) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(echo.base_url).port or 0), 20)


def _all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found


def test_a_head_that_never_ends_costs_its_first_bytes(echo: Echo) -> None:
    connection = _connect(echo)
    with connection:
        tracemalloc.start()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        sent = 0
        with suppress(OSError):  # the server may have closed it by then
            while sent < 40_000_000:
                connection.sendall(b"a" * 1_000_000)
                sent += 1_000_000
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 10_000_000
    assert echo.refused == ["431"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 300 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 66_000 + b"\r\n\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost:", b"408"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n", b"200"),
    ],
    ids=["url", "lines", "size", "nonsense", "connect", "slow", "large"],
)  # fmt: skip
def test_what_is_no_request_is_answered_and_closed(echo: Echo, head: bytes, status: bytes) -> None:
    with _connect(echo) as connection:
        connection.sendall(head)
        answer = _all(connection)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in answer.lower()
    if status != b"200":
        assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("crumbs", [b"", b"\r\n", b"G"])
def test_a_connection_that_sends_no_head_is_closed(echo: Echo, crumbs: bytes) -> None:
    with _connect(echo) as connection:
        connection.sendall(crumbs)
        assert _all(connection)[:12] in (b"", b"HTTP/1.1 408")


def test_a_head_in_crumbs_is_a_head_and_the_connection_is_used_again(echo: Echo) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with _connect(echo) as connection:
        for _ in range(2):
            for n in range(0, len(request), 9):
                connection.sendall(request[n : n + 9])
            assert connection.recv(4096).endswith(b"abc")


def test_one_connection_more_takes_the_place_of_one_that_sends_nothing() -> None:
    app = Echo()

    class Patient(LimitedProtocol):
        head_seconds = 600.0

    with ExitStack() as stack:
        app.base_url = stack.enter_context(serving(app, http=Patient, limit_concurrency=_MANY))
        held = [stack.enter_context(_connect(app)) for _ in range(_MANY - 1)]
        for connection in held:  # requests that are being answered
            connection.sendall(b"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        app.wait_for(_MANY - 1)
        idle = stack.enter_context(_connect(app))
        with httpx.Client(base_url=app.base_url, trust_env=False, timeout=20) as client:
            assert client.post("/", content=b"x").text == "x"
        with suppress(ConnectionResetError):
            assert idle.recv(1) == b""
        assert app.refused == ["made-room"]
        held.append(stack.enter_context(_connect(app)))
        held[-1].sendall(b"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        app.wait_for(_MANY)
        with _connect(app) as more:
            assert _all(more).startswith(b"HTTP/1.1 503")
        assert app.refused[-1] == "503"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_an_early_answer_reaches_a_client_that_is_still_sending(
    echo: Echo, version: str, connection: str
) -> None:
    """A proxy that speaks HTTP/1.0, or closes after each call, reads only when all is sent: a reset would take the answer from it."""
    size = 8_000_000
    with _connect(echo) as own:
        own.sendall(
            f"POST /early HTTP/{version}\r\nHost: x\r\nConnection: {connection}\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        for _ in range(size // 1_000_000):
            own.sendall(b"x" * 1_000_000)
        assert own.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("apart", [False, True])
def test_java_s_offer_of_http_2_loses_no_body(start_service: Any, echo: Echo, apart: bool) -> None:
    """java.net.http.HttpClient sends this with its first request over plain HTTP."""
    service = start_service()
    body = orjson.dumps(call("order-sign", prefetch(), clozapine(300)))
    head = (
        f"POST {_SIGN} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: {len(body)}\r\nHost: 127.0.0.1\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17\r\n"
        "Content-Type: application/json\r\n\r\n"
    ).encode()
    port = service.base_url.port or 0
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for _ in range(2):  # it is one connection still
            if apart:
                connection.sendall(head)
                connection.sendall(body)
            else:
                connection.sendall(head + body)
            answer = b""
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")
            assert codes(orjson.loads(answer.partition(b"\r\n\r\n")[2]))
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(
            head.replace(b"POST " + _SIGN.encode(), b"GET /health/live").replace(
                str(len(body)).encode(), b"0"
            )
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
