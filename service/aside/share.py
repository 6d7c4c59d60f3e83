"""How much a call may work, counted in processor time: beyond it the kernel ends the process, whatever the interpreter is busy with."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from mmap import mmap
from typing import Any

#: Bytes in which a process writes which call it works on; 0: on none.
MARK_BYTES = 8


def marked(mark: mmap) -> int:
    """The call that is worked on."""
    return int.from_bytes(mark[:MARK_BYTES], "little")


class Work:
    """The work of one call so far.

    Args:
        call: its number.
        mark: where the number is written while the call is worked on.
        seconds: its share.
    """

    __slots__ = ("_begun", "_call", "_left", "_mark")

    def __init__(self, call: int, mark: mmap, seconds: float) -> None:
        self._call = call.to_bytes(MARK_BYTES, "little")
        self._mark = mark
        self._left = seconds
        self._begun = 0.0

    def begin(self) -> None:
        """From here on the processor works for this call."""
        self._mark[:MARK_BYTES] = self._call
        self._begun = time.process_time()
        # The signal has no handler: one would wait until a pattern or a decoder gives the interpreter back.
        signal.setitimer(signal.ITIMER_PROF, max(self._left, 0.001))

    def end(self) -> None:
        """Something else is done now."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._left -= time.process_time() - self._begun
        self._mark[:MARK_BYTES] = bytes(MARK_BYTES)


#: The call that a task belongs to.
work: ContextVar[Work | None] = ContextVar("work", default=None)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose every step is counted as work of a call."""

    def __init__(self, inner: Coroutine[Any, Any, Any], work: Work) -> None:
        self._inner = inner
        self._work = work

    def send(self, value: Any) -> Any:
        self._work.begin()
        try:
            return self._inner.send(value)
        finally:
            self._work.end()

    def throw(self, *error: Any) -> Any:
        self._work.begin()
        try:
            return self._inner.throw(*error)
        finally:
            self._work.end()

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("a task steps through it")


def counted(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **more: Any
) -> asyncio.Task[Any]:
    """A task factory: tasks that a call makes count as its work, too."""
    of = work.get()
    if of is not None and isinstance(coro, Coroutine):
        coro = _Stepped(coro, of)
    return asyncio.Task(coro, loop=loop, **more)
