"""This service as a client of the EHR without a user: SMART Backend Services (private_key_jwt), with a token cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from service.fhir.bounded import BodyRefused, ask
from service.fhir.client import FetchFailed

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: SMART Backend Services: the assertion lives five minutes at most.
_ASSERTION_LIFE = timedelta(minutes=4)
#: A token and what is told of it.
_ANSWER_BYTES = 100_000
#: A token is renewed so long before it ends.
_MARGIN = timedelta(seconds=60)


class Credentials(Struct, frozen=True):
    """How this service proves who it is. Its text form shows no key."""

    client_id: str
    token_url: str
    key: Any
    key_id: str
    algorithm: str
    scope: str

    def __repr__(self) -> str:
        return f"Credentials({self.client_id!r})"


def credentials(
    client_id: str, token_url: str, key_file: Path, key_id: str, algorithm: str, scope: str
) -> Credentials:
    """Credentials with the key of a PEM file. Raises ValueError when the file holds no private key."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key_file} holds no readable private key") from error
    return Credentials(client_id, token_url, key, key_id, algorithm, scope)


def _seconds(told: object) -> float:
    """How long a token lives; servers that say nothing usable: five minutes."""
    try:
        return max(0.0, min(float(str(told)), 86_400.0)) if told else 300.0
    except ValueError:
        return 300.0


class BackendToken:
    """Gives an access token, asking for a new one only when the old one ends.

    Args:
        of: who asks.
        client: HTTP client.
        clock: the moment.
    """

    def __init__(self, of: Credentials, client: httpx.AsyncClient, clock: Callable[[], datetime]) -> None:
        self._of = of
        self._client = client
        self._clock = clock
        self._token = ""
        self._until: datetime | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        """The token. Raises FetchFailed when the token server does not give one."""
        async with self._lock:
            now = self._clock()
            if self._token and self._until is not None and now < self._until - _MARGIN:
                return self._token
            answer = await self._ask(now)
            self._token = str(answer["access_token"])
            self._until = now + timedelta(seconds=_seconds(answer.get("expires_in")))
            return self._token

    def forget(self) -> None:
        """The server refused the token: ask for another."""
        self._token = ""

    async def _ask(self, now: datetime) -> dict[str, Any]:
        assertion = jwt.encode(
            {
                "iss": self._of.client_id,
                "sub": self._of.client_id,
                "aud": self._of.token_url,
                "exp": now + _ASSERTION_LIFE,
                "iat": now,
                "jti": str(uuid4()),
            },
            self._of.key,
            algorithm=self._of.algorithm,
            headers={"kid": self._of.key_id, "typ": "JWT"},
        )
        form = {
            "grant_type": "client_credentials",
            "scope": self._of.scope,
            "client_assertion_type": _ASSERTION,
            "client_assertion": assertion,
        }
        try:
            response = await ask(
                self._client,
                "POST",
                self._of.token_url,
                headers={"Accept": "application/json"},
                form=form,
                limit=_ANSWER_BYTES,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchFailed(f"the token server could not be reached ({type(error).__name__})") from None
        except BodyRefused as why:
            raise FetchFailed(f"the token server's answer {why}") from None
        if response.status != 200:
            raise FetchFailed(f"the token server answered {response.status}")
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict) or not answer.get("access_token"):
            raise FetchFailed("the token server's answer holds no access token")
        return answer
