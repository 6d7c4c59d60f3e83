"""The service's side of the template: begins processes, and knows how they ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from service.aside.messages import BEGUN, NOTICE

#: Of a process whose template is gone, nobody knows how it ended.
UNKNOWN = -(1 << 16)


class Template:
    """The process that others are split off from (``service.aside.template``).

    Args:
        start: what it is told at first, packed.
    """

    def __init__(self, start: bytes) -> None:
        self._control, theirs = socket.socketpair()
        # What configures the service, and may be secret, is none of its business.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLOZAPINE_CDS_")}
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", "service.aside.template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        self._control.setblocking(False)
        self._start = start
        self._beginning: deque[asyncio.Future[tuple[int, asyncio.Future[int]]]] = deque()
        #: By process, how it will have ended.
        self._running: dict[int, asyncio.Future[int]] = {}
        self.alive = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Listen until it ends."""
        loop = asyncio.get_running_loop()
        waiting = bytearray()
        try:
            await loop.sock_sendall(self._control, self._start)
            while part := await loop.sock_recv(self._control, 4096):
                waiting += part
                while len(waiting) >= NOTICE.size:
                    pid, code = NOTICE.unpack_from(waiting)
                    self._noticed(pid, code, on_ready)
                    del waiting[: NOTICE.size]
        except ConnectionError:
            return
        finally:
            self.alive = False
            self._control.close()
            if self._popen.poll() is None:
                self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
            for begun in self._beginning:
                if not begun.done():
                    begun.set_exception(ChildProcessError("the template ended"))
            for ended in self._running.values():
                ended.set_result(UNKNOWN)
            self._running.clear()

    def _noticed(self, pid: int, code: int, on_ready: Callable[[], None]) -> None:
        if pid == 0:
            self.alive = True
            on_ready()
        elif code == BEGUN:
            ended = self._running[pid] = asyncio.get_running_loop().create_future()
            begun = self._beginning.popleft()
            if begun.done():
                self.kill(pid)  # nobody waits for it any more
            else:
                begun.set_result((pid, ended))
        else:
            self._running.pop(pid).set_result(code)

    async def begin(self, connection: int) -> tuple[int, asyncio.Future[int]]:
        """Split a process off that has this connection: its id, and how it will have ended (a signal as a negative number). Raises OSError."""
        begun: asyncio.Future[tuple[int, asyncio.Future[int]]] = asyncio.get_running_loop().create_future()
        socket.send_fds(self._control, [b"f"], [connection])
        self._beginning.append(begun)
        return await begun

    def kill(self, pid: int) -> None:
        """End a process, whatever it does. It is no other's id: the template keeps an ended process until it has told of it."""
        if pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
