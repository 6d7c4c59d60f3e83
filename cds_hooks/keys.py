"""The public keys of a client (cds-hooks checklist T2, T4): read from a JWK Set, cached, found again after a rotation.

A key set is fetched by whatever the application hands in; this module decides when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError
from msgspec import Struct

from cds_hooks.p384 import P384Key

log = logging.getLogger("cds_hooks.keys")

#: Algorithm -> key type and curve. No HMAC and no "none": a client proves itself with a key that this service cannot sign with.
ALGORITHMS: dict[str, tuple[str, str]] = {
    "ES384": ("EC", "P-384"),
    "RS384": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "RS256": ("RSA", ""),
}
RECOMMENDED = ("ES384", "RS384")
#: RSA keys shorter than this prove nothing (bits).
_MINIMUM_RSA_BITS = 2048
_MAX_KEYS = 100
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")

#: (kid, algorithm) -> public key, ready to verify with: of the cryptography library, for ES384 a P384Key.
PublicKeys = Mapping[tuple[str, str], Any]
Fetch = Callable[[], Awaitable[bytes]]


class KeySetError(ValueError):
    """Something that is not a usable JWK Set; the message says why."""


class KeyNotFound(Exception):
    """No key for a token. ``reason``: ``kid-unknown``, or ``keys-unavailable`` when none could be had."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeySet(Struct, frozen=True):
    """A JWK Set that was read: keys that can be used, and why the others cannot."""

    keys: PublicKeys
    left_out: tuple[str, ...] = ()

    @property
    def kids(self) -> tuple[str, ...]:
        """The key ids, sorted."""
        return tuple(sorted({kid for kid, _ in self.keys}))


def has_private_part(jwk: Mapping[str, Any]) -> bool:
    """Whether a key that should be public carries its secret."""
    return any(member in jwk for member in ("d", "p", "q", "dp", "dq", "qi", "k"))


def read_key_set(content: bytes) -> KeySet:
    """Read a JWK Set (RFC 7517). Keys that cannot be used are left out, each with its reason. Raises KeySetError."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise KeySetError("it is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError('it is not a JWK Set: an object with the array "keys" is expected')
    if len(entries) > _MAX_KEYS:
        raise KeySetError(f"it holds more than {_MAX_KEYS} keys")
    keys: dict[tuple[str, str], Any] = {}
    left_out: list[str] = []
    for position, entry in enumerate(entries, 1):
        try:
            keys.update(_read_key(entry))
        except KeySetError as why:
            left_out.append(f"key {position}: {why}")
    return KeySet(keys, tuple(left_out))


def _read_key(entry: Any) -> dict[tuple[str, str], Any]:
    """One JWK, under every algorithm it may be used with."""
    if not isinstance(entry, dict):
        raise KeySetError("it is not an object")
    kid, kty, curve = entry.get("kid"), entry.get("kty"), entry.get("crv", "")
    if not isinstance(kid, str) or not kid:
        raise KeySetError("it has no kid")
    if entry.get("use", "sig") != "sig" or "verify" not in (entry.get("key_ops") or ["verify"]):
        raise KeySetError("it is not for signatures")
    fitting = [
        name
        for name, (key_type, key_curve) in ALGORITHMS.items()
        if key_type == kty and key_curve in ("", curve) and entry.get("alg", name) == name
    ]
    if not fitting:
        raise KeySetError(f"it fits none of {', '.join(ALGORITHMS)}")
    # Only the public members are read: a set that leaks a private key must not bring it in here.
    public = {name: entry[name] for name in _PUBLIC_MEMBERS if name in entry}
    try:
        key: Any = ECAlgorithm.from_jwk(public) if kty == "EC" else RSAAlgorithm.from_jwk(public)
        if curve == "P-384":
            key = P384Key(key)
    except (PyJWTError, ValueError, TypeError):
        raise KeySetError("its numbers are not a key") from None
    if kty == "RSA" and key.key_size < _MINIMUM_RSA_BITS:
        raise KeySetError(f"an RSA key of {key.key_size} bits is too short")
    return {(kid, name): key for name in fitting}


class CachedKeys:
    """The keys of one client, kept as key objects and fetched again when that may help.

    Args:
        fetch: gives the JWK Set; may raise anything, which counts as "the key server is away".
        name: of the client, for the log.
        fresh_seconds: keys older than this are fetched again, beside the call that notices it.
        keep_seconds: while the key server is away, known keys are believed for so long.
        refetch_seconds: at most one fetch in this time, whatever callers ask for.
        clock: seconds, monotonic.
    """

    #: Calls that wait for one fetch; more are refused at once, so that a flood of made-up kids holds nothing.
    _MAX_WAITING = 32

    def __init__(
        self,
        fetch: Fetch,
        *,
        name: str,
        fresh_seconds: float = 300.0,
        keep_seconds: float = 86_400.0,
        refetch_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._fetch = fetch
        self._fresh = fresh_seconds
        self._keep = keep_seconds
        self._pause = refetch_seconds
        self._clock = clock
        self._keys: PublicKeys = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._waiting = 0

    async def find(self, kid: str, algorithm: str) -> Any:
        """The key of a token. Raises KeyNotFound."""
        key = self._keys.get((kid, algorithm))
        now = self._clock()
        age = now - self._fetched_at
        if key is not None and age < self._fresh:
            return key
        if key is not None and age < self._keep:
            self._start(now)
            return key
        if self._waiting >= self._MAX_WAITING:
            raise KeyNotFound("kid-unknown" if self._keys else "keys-unavailable")
        self._waiting += 1
        try:
            await self.refresh()
        finally:
            self._waiting -= 1
        if self._clock() - self._fetched_at >= self._keep:
            raise KeyNotFound("keys-unavailable")
        key = self._keys.get((kid, algorithm))
        if key is None:
            raise KeyNotFound("kid-unknown")
        return key

    @property
    def problem(self) -> str:
        """Why calls of this client cannot be verified now; empty when they can."""
        if not self._keys:
            return "no key could be fetched"
        if self._clock() - self._fetched_at >= self._keep:
            return "the keys are too old to be believed and cannot be fetched again"
        return ""

    async def refresh(self) -> None:
        """Fetch the keys, unless that was just tried; joins a fetch that is under way. Never raises."""
        running = self._start(self._clock())
        if running is not None:
            # Shielded: a caller that goes away must not take the fetch of the others with it.
            await asyncio.shield(running)

    def _start(self, now: float) -> asyncio.Task[None] | None:
        if self._running is not None and not self._running.done():
            return self._running
        if now - self._tried_at < self._pause:
            return None
        self._tried_at = now
        self._running = asyncio.create_task(self._run())
        return self._running

    async def _run(self) -> None:
        try:
            found = read_key_set(await self._fetch())
        except Exception as error:
            # The type says enough; a message could repeat what a stranger's server sent.
            log.warning("the keys of %s could not be fetched (%s)", self.name, type(error).__name__)
            return
        if not found.keys:
            log.warning("the key set of %s holds no usable key", self.name)
            return
        self._keys = found.keys
        self._fetched_at = self._clock()
