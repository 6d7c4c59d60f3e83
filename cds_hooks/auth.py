"""Who calls: the client's JWT (cds-hooks checklist T1–T4).

A refusal says nothing to the caller; the reason goes to ``on_refused`` alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from jwt import PyJWS
from jwt.exceptions import PyJWTError
from msgspec import Struct
from starlette.types import Scope

from cds_hooks.errors import ProtocolError
from cds_hooks.keys import ALGORITHMS, RECOMMENDED, KeyNotFound
from cds_hooks.p384 import ES384
from cds_hooks.token_use import Replays

#: Longer than any token of this protocol.
_MAX_TOKEN_BYTES = 8192
_MAX_ID_LENGTH = 256


class Unauthorized(ProtocolError):
    """401 with a text that helps nobody to guess."""

    def __init__(self) -> None:
        super().__init__(
            401, "The call is not authorized.", code="login", headers={"WWW-Authenticate": "Bearer"}
        )


class Refused(Exception):
    """Why a token is not accepted: one of a few fixed words, for logs and metrics."""

    def __init__(self, reason: str, client: Client | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.client = client


class Client(Struct, frozen=True, kw_only=True):
    """One EHR that may call."""

    issuer: str
    #: (kid, algorithm) -> key object; raises KeyNotFound.
    find_key: Callable[[str, str], Awaitable[Any]]
    #: What the application knows this client by; handed to the handlers.
    principal: Any
    #: Values of ``jku`` that a token may carry; none is ever fetched because a token names it.
    jku: frozenset[str] = frozenset()
    #: Further audiences, for clients whose administrators type one in; the endpoint's own URL is always accepted.
    audiences: frozenset[str] = frozenset()
    algorithms: frozenset[str] = frozenset(RECOMMENDED)
    max_lifetime_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not self.algorithms or not self.algorithms <= set(ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(ALGORITHMS)}")


class _Header(Struct):
    alg: str
    kid: str
    typ: str
    jku: str | None = None
    crit: Any = None


class _Claims(Struct):
    iss: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    jti: str
    nbf: int | float | None = None
    tenant: str | None = None


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(_Claims)
#: Given issuer and tenant as the token claims them; the client whose keys must prove it, or None.
FindClient = Callable[[str, str], Client | None]


def bearer_token(scope: Scope) -> bytes:
    """The token of the one Authorization header. Raises Refused."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        raise Refused("no-token")
    if len(values) > 1:
        raise Refused("malformed")
    scheme, _, token = values[0].strip().partition(b" ")
    if scheme.lower() != b"bearer":
        raise Refused("no-token")
    token = token.strip()
    if not token or len(token) > _MAX_TOKEN_BYTES:
        raise Refused("malformed")
    return bytes(token)


def _segment(encoded: bytes) -> bytes:
    return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)


class Authenticator:
    """Checks the JWT of a call and says who calls.

    Args:
        client_of: finds the client a token claims to be from.
        base_url: public base URL of the service; with the path of the call it is the audience (T3), whatever Host header a proxy sends.
        replays: remembers the tokens that were used.
        clock: now, with a zone.
        on_refused: told the reason of every refusal, the path, and the client if it is known.
        leeway_seconds: how far the clocks may differ.
    """

    def __init__(
        self,
        client_of: FindClient,
        *,
        base_url: str,
        replays: Replays,
        clock: Callable[[], datetime],
        on_refused: Callable[[str, str, Client | None], None] = lambda reason, path, client: None,
        leeway_seconds: float = 30.0,
    ) -> None:
        self._client_of = client_of
        self._base_url = base_url.rstrip("/")
        self._replays = replays
        self._clock = clock
        self._on_refused = on_refused
        self._leeway = leeway_seconds
        self._jws = PyJWS(algorithms=list(ALGORITHMS))
        self._jws.unregister_algorithm("ES384")
        self._jws.register_algorithm("ES384", ES384())

    async def __call__(self, scope: Scope) -> Any:
        """The principal of the client that calls. Raises ProtocolError 401."""
        try:
            return (await self._client(bearer_token(scope), scope["path"])).principal
        except Refused as refused:
            self._on_refused(refused.reason, scope["path"], refused.client)
            raise Unauthorized from None

    async def _client(self, token: bytes, path: str) -> Client:
        header, claims = self._peek(token)
        client = self._client_of(claims.iss, claims.tenant or "")
        if client is None:
            raise Refused("issuer")
        try:
            return await self._verified(token, header, claims, client, path)
        except Refused as refused:
            raise Refused(refused.reason, client) from None

    def _peek(self, token: bytes) -> tuple[_Header, _Claims]:
        """What a token says, believed by nobody yet: it only tells whose keys have to prove it."""
        parts = token.split(b".")
        if len(parts) != 3:
            raise Refused("malformed")
        try:
            header_bytes, payload = _segment(parts[0]), _segment(parts[1])
        except (binascii.Error, ValueError):
            raise Refused("malformed") from None
        try:
            header = _header.decode(header_bytes)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise Refused("header") from None
        if header.alg not in ALGORITHMS:
            raise Refused("algorithm")
        # "crit" names extensions that must be understood; this service understands none.
        if (
            header.typ.upper() != "JWT"
            or not 0 < len(header.kid) <= _MAX_ID_LENGTH
            or header.crit is not None
        ):
            raise Refused("header")
        try:
            return header, _claims.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise Refused("claims") from None

    async def _verified(
        self, token: bytes, header: _Header, claims: _Claims, client: Client, path: str
    ) -> Client:
        if header.alg not in client.algorithms:
            raise Refused("algorithm")
        if header.jku is not None and header.jku not in client.jku:
            raise Refused("jku")
        try:
            key = await client.find_key(header.kid, header.alg)
        except KeyNotFound as missing:
            raise Refused(missing.reason) from None
        try:
            self._jws.decode_complete(token, key, [header.alg])
        except (PyJWTError, ValueError, TypeError):
            raise Refused("signature") from None
        now = self._clock().timestamp()
        self._check_claims(claims, client, path, now)
        token_id = sha256("\n".join((client.issuer, claims.tenant or "", claims.jti)).encode()).hexdigest()
        if not await self._replays.first_use(token_id, claims.exp + self._leeway, now):
            raise Refused("replayed")
        return client

    def _check_claims(self, claims: _Claims, client: Client, path: str, now: float) -> None:
        audiences = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if self._base_url + path not in audiences and not audiences & client.audiences:
            raise Refused("audience")
        if claims.exp <= now - self._leeway:
            raise Refused("expired")
        if claims.iat > now + self._leeway or (claims.nbf is not None and claims.nbf > now + self._leeway):
            raise Refused("from-the-future")
        if not 0 < claims.exp - claims.iat <= client.max_lifetime_seconds:
            raise Refused("lifetime")
        if not 0 < len(claims.jti) <= _MAX_ID_LENGTH:
            raise Refused("claims")
