"""A database that hangs: a real PostgreSQL behind a wire that can be held, so that nothing is refused and nothing answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit


class Wire:
    """Carries bytes between clients and a server until it is held."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        [folder] = parse_qs(parts.query)["host"]
        self._upstream = f"{folder}/.s.PGSQL.{parts.port or 5432}"
        self._flows = threading.Event()
        self._flows.set()
        #: Added to the way of every piece.
        self.delay_seconds = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}{parts.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Let nothing through from now on, either way; connections stay open."""
        self._flows.clear()

    def release(self) -> None:
        """Let through what was held, and all that follows."""
        self._flows.set()

    def close(self) -> None:
        self.release()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._upstream)
            except OSError:  # the server is stopped
                client.close()
                server.close()
                continue
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while got := source.recv(65536):
                self._flows.wait()
                time.sleep(self.delay_seconds)
                target.sendall(got)
        except OSError:
            pass
        finally:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # the thread of the other way reads the end
                end.close()


@contextmanager
def wire_to(upstream: str) -> Iterator[Wire]:
    """A wire to a PostgreSQL on a socket of the file system; ``wire.url`` is how to reach it."""
    wire = Wire(upstream)
    try:
        yield wire
    finally:
        wire.close()
