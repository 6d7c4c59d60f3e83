"""A load generator that costs next to nothing: prepared bytes over keep-alive sockets."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, read the whole answer: status and body."""
        self.socket.sendall(request)
        data = self.socket.recv(65536)
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += self.socket.recv(65536)
        return int(head.split(b" ", 2)[1]), body


def request_bytes(body: bytes) -> bytes:
    """An HTTP request with the body."""
    head = (
        "POST /cds-services/clozapine-order-sign HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def latencies(port: int, requests: Sequence[bytes], seconds: float) -> list[float]:
    """Seconds of each call, one after the other and in turn, for about so long."""
    connection = Connection(port)
    for _ in range(3):
        status, body = connection.exchange(requests[0])
        if status != 200 or not body.startswith(b'{"cards":['):
            raise RuntimeError(f"the server answered {status}: {body[:200]!r}")
    taken: list[float] = []
    end = perf_counter() + seconds
    in_turn = cycle(requests)
    while (now := perf_counter()) < end:
        connection.exchange(next(in_turn))
        taken.append(perf_counter() - now)
    return taken
