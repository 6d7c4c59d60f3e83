"""How much a service takes on: calls per second and client, calls at once, seconds per call, nesting of a document."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cds_hooks.errors import ProtocolError


class TooManyCalls(ProtocolError):
    """429: this client calls more often than agreed."""

    def __init__(self, wait_seconds: float) -> None:
        seconds = max(1, math.ceil(wait_seconds))
        super().__init__(
            429,
            f"Too many calls; nothing was checked. Wait {seconds} s, or ask the operators for a higher limit.",
            code="throttled",
            headers={"Retry-After": str(seconds)},
        )


class Overloaded(ProtocolError):
    """503: all places are taken."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "The service is busy; nothing was checked. Call again in a moment.",
            code="transient",
            headers={"Retry-After": "1"},
        )


class TookTooLong(ProtocolError):
    """503: the call was given up."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            503,
            f"The call was given up after {seconds:g} s; nothing was checked.",
            code="timeout",
            headers={"Retry-After": "1"},
        )


class TokenBuckets:
    """So many calls per second and client, twice as many in one burst."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, who: Hashable, per_second: float) -> None:
        """Count one call. Raises TooManyCalls."""
        now = self._clock()
        burst = max(1.0, 2 * per_second)
        left, at = self._buckets.get(who, (burst, now))
        left = min(burst, left + (now - at) * per_second)
        if left < 1:
            self._buckets[who] = (left, now)
            raise TooManyCalls((1 - left) / per_second)
        self._buckets[who] = (left - 1, now)


class Gate:
    """So many calls at once; one more is turned away at once instead of making all of them late."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    def __enter__(self) -> None:
        """Take a place for the time of a call. Raises Overloaded."""
        if self.taken >= self.places:
            raise Overloaded
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class Shares:
    """Places of one kind among several clients: half of them are kept, in equal parts, for each; the other half is for who comes.

    So no client can take all of them, and one that is alone has nearly all.

    Args:
        places: of all together.
        sharers: how many clients there are now.
    """

    def __init__(self, places: int, sharers: Callable[[], int] = lambda: 1) -> None:
        self.places = places
        self._sharers = sharers
        self._taken: dict[Hashable, int] = {}

    @contextmanager
    def of(self, who: Hashable) -> Iterator[None]:
        """A place for the time of a call. Raises Overloaded."""
        taken = self._taken.get(who, 0)
        sharers = max(1, self._sharers())
        kept = max(1, self.places // (2 * sharers))
        if taken >= kept:
            common = sum(n - kept for n in self._taken.values() if n > kept)
            if common >= self.places - kept * sharers:
                raise Overloaded
        self._taken[who] = taken + 1
        try:
            yield
        finally:
            left = self._taken[who] - 1
            if left:
                self._taken[who] = left
            else:
                del self._taken[who]


class Limits:
    """The limits of one application.

    Args:
        places: calls answered at once, and as many whose bodies are still coming.
        seconds: for one call, reading its body included.
        body_rate: bytes per second that a body must come with, after its first seconds.
        rate: who a principal is counted as, and calls per second; None where nothing is counted.
        who: whose share of the places a principal takes.
        sharers: how many there are who share.
    """

    def __init__(
        self,
        *,
        places: int = 200,
        seconds: float = 10.0,
        body_rate: float = 0.0,
        rate: Callable[[object], tuple[Hashable, float] | None] = lambda principal: None,
        who: Callable[[object], Hashable] = lambda principal: None,
        sharers: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places = places
        self.seconds = seconds
        self.body_rate = body_rate
        self._calls = Shares(places, sharers)
        self._bodies = Shares(places, sharers)
        self._rate = rate
        self._who = who
        self._buckets = TokenBuckets(clock=clock)

    def admit(self, principal: object) -> None:
        """Count a call of a client. Raises TooManyCalls."""
        counted = self._rate(principal)
        if counted is not None:
            self._buckets.take(*counted)

    def place(self, principal: object) -> AbstractContextManager[None]:
        """A place to answer a call whose body is there. Raises Overloaded."""
        return self._calls.of(self._who(principal))

    def reading(self, principal: object) -> AbstractContextManager[None]:
        """Leave to receive a body. Raises Overloaded."""
        return self._bodies.of(self._who(principal))


#: Nesting of a context; FHIR orders stay below 20.
MAX_NESTING = 100
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def nested_deeper_than(document: bytes, limit: int) -> bool:
    """Whether arrays and objects of a JSON document are nested more than ``limit`` deep; brackets in strings do not count."""
    if document.count(b"{") + document.count(b"[") <= limit:
        return False  # an ordinary document, whatever stands in its strings
    # Escaped backslashes go first, then escaped quotes: every quote that is left begins or ends a string.
    unescaped = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(unescaped.translate(None, _NOT_STRUCTURE).split(b'"')[::2])
    if structure.count(b"{") + structure.count(b"[") <= limit:
        return False
    depth = 0
    for byte in structure:
        depth += 1 if byte in b"{[" else -1
        if depth > limit:
            return True
    return False
