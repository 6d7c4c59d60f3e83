"""Tokens that were used (cds-hooks checklist T3): each ``jti`` opens the service once."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Replays(Protocol):
    """Remembers tokens until they expire. An application with several processes hands in one that they share."""

    async def first_use(self, token_id: str, expires_at: float, now: float) -> bool:
        """Remember a token; False when it was seen before.

        Args:
            token_id: identifies issuer and ``jti``.
            expires_at: when the token stops being valid, seconds since the epoch; it may be forgotten then.
            now: seconds since the epoch.
        """
        ...


class MemoryReplays:
    """Tokens seen by this process."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    async def first_use(self, token_id: str, expires_at: float, now: float) -> bool:
        """See :class:`Replays`."""
        # Expiry times differ by minutes at most, so the queue is nearly sorted: what stays a little longer does no harm.
        while self._order and self._order[0][0] < now:
            self._seen.discard(self._order.popleft()[1])
        if token_id in self._seen:
            return False
        self._seen.add(token_id)
        self._order.append((expires_at, token_id))
        return True
