"""What authentication adds to a call: the whole check, the signature alone, and so what is this service's own share."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cds_hooks import Authenticator, CachedKeys, Client, MemoryReplays, Replays
from cds_hooks.keys import ALGORITHMS, read_key_set
from cds_hooks.p384 import ES384
from service.store.database import engine_for, upgrade
from service.trail.used_tokens import DatabaseReplays

#: Aim: what an authenticated call may cost more (ms), the database not counted.
AIM = 0.3
_CALLS = 400
_BASE = "https://cds.hospital.example"
_PATH = "/cds-services/clozapine-order-sign"


def _keys() -> dict[str, Any]:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "RS384": rsa_key,
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }


def _jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}


def _tokens(key: Any, algorithm: str, count: int) -> list[str]:
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": "https://ehr.example", "aud": _BASE + _PATH, "exp": now + 280, "iat": now}
    return [
        jwt.encode({**claims, "jti": f"{algorithm}-{count}-{n}"}, key, algorithm, headers={"kid": algorithm})
        for n in range(count)
    ]


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2] * 1000


async def _checked(algorithm: str, key: Any, replays: Replays, tokens: list[str]) -> float:
    """ms of a whole check, median."""

    async def fetch() -> bytes:
        return orjson.dumps({"keys": [_jwk(key, algorithm)]})

    keys = CachedKeys(fetch, name="bench")
    client = Client(
        issuer="https://ehr.example", find_key=keys.find, principal="bench", algorithms=frozenset(ALGORITHMS)
    )
    check = Authenticator(
        lambda issuer, tenant: client, base_url=_BASE, replays=replays, clock=lambda: datetime.now(UTC)
    )
    times = []
    for token in tokens:
        scope = {"type": "http", "path": _PATH, "headers": [(b"authorization", b"Bearer " + token.encode())]}
        started = perf_counter()
        await check(scope)
        times.append(perf_counter() - started)
    return _median(times)


def _signature_alone(algorithm: str, key: Any, tokens: list[str]) -> float:
    """ms of the library's verification, median."""
    public = next(iter(read_key_set(orjson.dumps({"keys": [_jwk(key, algorithm)]})).keys.values()))
    jws = PyJWS(algorithms=[algorithm])
    verifier: Any = ES384() if algorithm == "ES384" else jws.get_algorithm_by_name(algorithm)
    parts = [jws.decode_complete(t, options={"verify_signature": False})["signature"] for t in tokens]
    times = []
    for token, signature in zip(tokens, parts, strict=True):
        signed = token.rpartition(".")[0].encode()
        started = perf_counter()
        verifier.verify(signed, public, signature)
        times.append(perf_counter() - started)
    return _median(times)


def measure() -> dict[str, dict[str, float]]:
    """ms per algorithm: ``signature`` alone, ``check`` with tokens remembered in memory, ``shared`` with the database."""
    url = f"sqlite:///{tempfile.mkdtemp(prefix='clozapine-bench-')}/bench.db"
    upgrade(url)
    engine = engine_for(url)
    results = {}
    for algorithm, key in _keys().items():
        replays: dict[str, Callable[[], Replays]] = {
            "check": MemoryReplays,
            "shared": lambda: DatabaseReplays(engine),
        }
        tokens = _tokens(key, algorithm, _CALLS)
        results[algorithm] = {"signature": _signature_alone(algorithm, key, tokens)} | {
            name: asyncio.run(_checked(algorithm, key, make(), tokens)) for name, make in replays.items()
        }
    engine.dispose()
    return results
