"""Files that hold a record: their owner's alone, whatever was there before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def private_folder(folder: Path) -> None:
    """Make a folder that nobody else may look into; one that is there stays as it is. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_private(file: Path) -> BinaryIO:
    """A file to write, emptied, of mode 0600. Raises OSError."""
    opened = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(opened, 0o600)  # it may have been there
    return os.fdopen(opened, "wb")
