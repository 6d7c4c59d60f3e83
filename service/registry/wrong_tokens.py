"""Wrong tokens: answered the later the more there are, and beyond a number not at all; the right ones never wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

_WINDOW = timedelta(minutes=1)
#: In a minute: so many are slips of people; so many at most are answered, and noted.
_SLIPS = 3
MOST = 60
_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0


class WrongTokens:
    """Counts the wrong tokens of the last minute, whoever sent them: behind a proxy all come from one address.

    Args:
        clock: the moment.
        pause: waits so many seconds.
    """

    def __init__(
        self, clock: Callable[[], datetime], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._lately: deque[datetime] = deque(maxlen=MOST)

    async def one(self) -> bool:
        """One more: waits; False when there are too many to answer."""
        now = self._clock()
        while self._lately and now - self._lately[0] > _WINDOW:
            self._lately.popleft()
        if len(self._lately) == MOST:
            return False
        self._lately.append(now)
        beyond = len(self._lately) - _SLIPS
        if beyond > 0:
            await self._pause(min(_FIRST_SECONDS * 2.0 ** min(beyond - 1, 10), _LONGEST_SECONDS))
        return True
