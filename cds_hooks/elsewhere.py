"""Calls that are judged outside of the process that answers them: so large that their work would hold up every other call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from cds_hooks.card import Response
from cds_hooks.request import HookRequest

#: Told of a call when it was read, before it is judged: a failure later on knows whose call it was.
Heard = Callable[[HookRequest], None]


class Elsewhere(Protocol):
    """The application's part: processes that can be ended."""

    def takes(self, size: int) -> bool:
        """Whether a body of so many bytes is judged elsewhere."""
        ...

    def judge(
        self, service_id: str, hook: str, body: bytes, principal: Any, heard: Heard
    ) -> Coroutine[Any, Any, Response]:
        """The answer, ``encoded``. Raises ProtocolError. Cancelled, the work ends."""
        ...
