"""UUIDs of cards and suggestions: random (version 4), drawn from the system in blocks because every draw is a system call."""

from __future__ import annotations

import os

_BLOCK = 16 * 256


class Identifiers:
    """A supply of random UUIDs for one thread."""

    def __init__(self) -> None:
        self._block = b""
        self._used = 0
        if hasattr(os, "register_at_fork"):  # two processes must not go on with the same block
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._block = b""
        self._used = 0

    def new(self) -> str:
        """A new UUID as text."""
        if self._used >= len(self._block):
            self._block = os.urandom(_BLOCK)
            self._used = 0
        taken = self._block[self._used : self._used + 16]
        self._used += 16
        digits = taken.hex()
        # Version 4, variant RFC 9562: the thirteenth digit is 4, the seventeenth 8 to b.
        variant = "89ab"[taken[8] & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
