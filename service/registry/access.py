"""Who may use the registry's routes: bearer tokens kept as hashes, each with sites and a role."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.registry.wrong_tokens import WrongTokens

Role = Literal["sender", "viewer", "clinician", "admin"]
#: A sender brings results and sees nothing.
_RANK: dict[str, int] = {"sender": -1, "viewer": 0, "clinician": 1, "admin": 2}


class Client(Struct, frozen=True):
    """Somebody who may use the registry. ``sites`` empty = all."""

    name: str
    token_sha256: str
    sites: tuple[str, ...] = ()
    role: Role = "viewer"

    def sees(self, site: str) -> bool:
        """True when patients of the site are visible."""
        return not self.sites or site in self.sites


class Access:
    """Checks requests.

    Args:
        clients: who is known.
        wrong: slows and counts wrong tokens.
        open_to_all: without known clients, let everybody in (authentication off, loopback only).
    """

    def __init__(self, clients: Sequence[Client], wrong: WrongTokens, *, open_to_all: bool) -> None:
        self._wrong = wrong
        self._clients = tuple(clients)
        self._everybody = Client("open mode", "", (), "admin") if open_to_all and not clients else None

    def known(self, request: Request) -> Client | None:
        """Who asks; None for a token that nobody has."""
        if self._everybody is not None:
            return self._everybody
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        found = None
        for known in self._clients:  # every one is compared, so that the time tells nothing
            if hmac.compare_digest(known.token_sha256, digest):
                found = known
        return found if scheme.lower() == "bearer" else None

    async def client(self, request: Request) -> Client:
        """Who asks. Raises HTTPException 401 for unknown callers, after a while, and 429 when there are too many of them."""
        found = self.known(request)
        if found is not None:
            return found
        if not await self._wrong.one():
            raise HTTPException(429, "Too many requests with a wrong token.", {"Retry-After": "60"})
        raise HTTPException(
            401,
            "This needs a bearer token; ask the service's operators for one.",
            {"WWW-Authenticate": "Bearer"},
        )

    @staticmethod
    def check_role(client: Client, role: Role) -> None:
        """Raises HTTPException 403 for a role that does not suffice."""
        if _RANK[client.role] < _RANK[role]:
            raise HTTPException(403, f"This needs the role {role}; the token has the role {client.role}.")

    def sites(self, client: Client, asked: str | None) -> tuple[str, ...] | None:
        """The sites a list may show: the one asked for, or all of the client's. Raises HTTPException 403 for a foreign one."""
        if asked is not None:
            if not client.sees(asked):
                raise HTTPException(403, "The token does not cover this site.")
            return (asked,)
        return client.sites or None
