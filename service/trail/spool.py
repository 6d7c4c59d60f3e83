"""Calls on disk until the database has them, so that neither a stop, a kill nor a database that hangs loses one that was answered.

A line is written just before its call is answered, and outlives the process from then on. ``sync`` makes it outlive the machine, too.
A file belongs to the process that holds its lock; files without an owner are what a process left that ended before the database had them.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from service.store.private_files import private_folder

log = logging.getLogger("service.registry")
_SUFFIX = ".jsonl"


class SpoolFile:
    """The lines of one batch; made with its first line, gone with :meth:`remove`."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.size = os.fstat(handle).st_size
        self._handle = handle

    @property
    def name(self) -> str:
        """By which the database remembers that it has this batch."""
        return self.path.stem

    def append(self, line: bytes) -> None:
        """Write one line. Raises OSError."""
        written = os.write(self._handle, line + b"\n")
        if written != len(line) + 1:
            os.ftruncate(self._handle, self.size)  # half a line would spoil the next
            raise OSError("the disk is full")
        self.size += written

    def lines(self) -> Iterator[bytes]:
        """What was written, in its order; a last line that was not finished is among it."""
        with self.path.open("rb") as file:
            yield from (line.rstrip(b"\n") for line in file)

    def sync(self) -> None:
        """Wait until the disk has it. Raises OSError."""
        os.fsync(self._handle)

    def remove(self) -> None:
        """The database has it all."""
        self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Keep it for the next start."""
        os.close(self._handle)


class Spool:
    """A folder of such files.

    Args:
        folder: made when it is missing, for this user only.
        limit: bytes of all files of this process together.
        clock: names files, so that they are read again in their order.
    """

    def __init__(self, folder: Path, limit: int, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self.limit = limit
        self._clock = clock
        private_folder(folder)

    def new(self) -> SpoolFile:
        """An empty file of this process. Raises OSError."""
        path = self.folder / f"{self._clock():%Y%m%dT%H%M%S%f}-{uuid4().hex[:12]}{_SUFFIX}"
        found = self._held(path, os.O_CREAT | os.O_EXCL)
        assert found is not None
        return found

    def left_behind(self) -> Iterator[SpoolFile]:
        """Files whose process has ended, the oldest first."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                found = self._held(path)
            except OSError as error:
                log.error("a file of the spool cannot be read: %s", type(error).__name__)
                continue
            if found is not None:
                yield found

    def _held(self, path: Path, flags: int = 0) -> SpoolFile | None:
        """The file, if no other process has it. Raises OSError."""
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if not path.exists():  # its process removed it just now
            os.close(handle)
            return None
        return SpoolFile(path, handle)
