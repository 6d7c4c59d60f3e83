"""A circuit breaker: a server that lets one call after the other wait in vain is left alone for a moment, and asked again.

Three things are wanted of it, for which it is written here: the end of a deadline, which reaches a request as a cancellation and not as an
exception of its own, counts as a failure; the ten requests of one call that end together are one failure; and of the requests that come
after the rest exactly one tries.
"""

from __future__ import annotations

from collections.abc import Callable

#: Failures one after the other, with no answer between them, after which a server is left alone.
FAILURES = 3
#: For so long; then one request tries.
REST_SECONDS = 5.0
#: What fails at once costs nobody time: a server that refuses connections is asked every time, and found the moment it is back.
_COSTLY_SECONDS = 0.1


class Breaker:
    """The state of one server.

    Args:
        clock: seconds, monotonic.
        on_change: told when the server is left alone (True), and when it answers again (False).
    """

    def __init__(
        self, clock: Callable[[], float], on_change: Callable[[bool], None] = lambda left: None
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._failed_at = float("-inf")
        self._rests_until: float | None = None
        self._trial_at: float | None = None

    @property
    def rests(self) -> bool:
        """Whether the server is left alone."""
        return self._rests_until is not None

    def admits(self) -> bool:
        """Whether a request may be sent now. One that may has to end in :meth:`answered` or :meth:`failed`."""
        if self._rests_until is None:
            return True
        now = self._clock()
        if now < self._rests_until or self._trial_at is not None:
            return False
        self._trial_at = now
        return True

    def answered(self) -> None:
        """The server answered."""
        self._failures = 0
        if self._rests_until is not None:
            self._rests_until = self._trial_at = None
            self._on_change(False)

    def failed(self, began: float) -> None:
        """A request that began at a moment got no answer: refused, broken off, or given up."""
        now = self._clock()
        if self._rests_until is not None:
            if self._trial_at is not None and began >= self._trial_at:
                self._trial_at = None
                self._rests_until = now + REST_SECONDS
            return
        # Requests that waited at the same time failed together.
        if now - began < _COSTLY_SECONDS or began < self._failed_at:
            return
        self._failures += 1
        self._failed_at = now
        if self._failures >= FAILURES:
            self._rests_until = now + REST_SECONDS
            self._on_change(True)
