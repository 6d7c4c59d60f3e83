"""A server that stops without taking an answer from anybody: readiness first, a drain time, then connections one by one."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType

import uvicorn

from service.ops.stopping import Stopping

#: Turns of the loop while draining; uvicorn's own.
_TICK_SECONDS = 0.1
#: A connection that was just made is given so long to bring its request.
_FIRST_REQUEST_SECONDS = 1.0


class DrainingServer(uvicorn.Server):
    """uvicorn, which of itself closes its sockets the moment it is told to stop.

    Args:
        config: of uvicorn.
        stopping: told when the stop begins.
        drain_seconds: calls are answered for so long after SIGTERM. SIGINT (a person at a terminal) and a second signal end it at once.
    """

    def __init__(self, config: uvicorn.Config, stopping: Stopping, drain_seconds: float) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._drain_seconds = drain_seconds
        self._at_once = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        self._at_once = self._at_once or sig == signal.SIGINT or self.should_exit
        super().handle_exit(sig, frame)

    async def main_loop(self) -> None:
        """See uvicorn; then drain."""
        await super().main_loop()
        self._stopping.begin()
        until = asyncio.get_running_loop().time() + self._drain_seconds
        turns = 0
        while not self._at_once and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_TICK_SECONDS)
            await self.on_tick(turns)  # answers go on having a date
            turns += 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn. What was accepted in the last moment is answered, too."""
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if self._at_once else _FIRST_REQUEST_SECONDS)
        while loop.time() < until and self._somebody_is_new():  # noqa: ASYNC110 - connections tell nobody
            await asyncio.sleep(_TICK_SECONDS / 10)
        await super().shutdown(sockets)

    def _somebody_is_new(self) -> bool:
        """Whether a connection has not had a request yet."""
        return any(getattr(connection, "cycle", True) is None for connection in self.server_state.connections)
