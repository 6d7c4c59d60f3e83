"""Client JWTs as EHRs sign them, and as they should not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.data import NOW

#: The public base URL of the service under test; it listens on loopback, as behind a proxy.
BASE = "https://cds.hospital.example"


class Signer:
    """The keys of one EHR."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.kid = ""
        self.rotate()

    def rotate(self, *, drop_old: bool = True) -> str:
        """Sign with a new key from now on."""
        if drop_old:
            self.keys.clear()
        self.kid = str(uuid4())
        self.keys[self.kid] = ec.generate_private_key(ec.SECP384R1())
        return self.kid

    def add_rsa(self, bits: int = 2048) -> str:
        """One more key, for RS384."""
        kid = str(uuid4())
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        return kid

    def jwks(self) -> dict[str, Any]:
        """The public JWK Set."""
        return {"keys": [public_jwk(key, kid) for kid, key in self.keys.items()]}

    def token(self, name: str, path: str, **changes: Any) -> str:
        """A token of the EHR ``name`` for one endpoint.

        ``changes``: claims to replace (None removes one), ``header`` and ``alg``, ``kid``, ``key`` of the signature.
        """
        alg = changes.pop("alg", "ES384")
        kid = changes.pop("kid", self.kid)
        key = changes.pop("key", self.keys.get(kid))
        header = {"typ": "JWT", "kid": kid} | changes.pop("header", {})
        claims = claims_of(name, path) | changes
        claims = {k: v for k, v in claims.items() if v is not None}
        return jwt.encode(claims, key, alg, headers={k: v for k, v in header.items() if v is not None})

    def bearer(self, name: str, path: str, **changes: Any) -> dict[str, str]:
        """The Authorization header."""
        return {"Authorization": f"Bearer {self.token(name, path, **changes)}"}


def claims_of(name: str, path: str) -> dict[str, Any]:
    """Claims of a sound token."""
    now = int(NOW.timestamp())
    return {
        "iss": f"https://{name}.example",
        "aud": BASE + path,
        "exp": now + 240,
        "iat": now,
        "jti": str(uuid4()),
    }


def public_jwk(key: Any, kid: str) -> dict[str, Any]:
    """The public half of a key."""
    algorithm: Any = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    return algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}


def _encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(name: str, path: str, kid: str) -> str:
    """A token with alg none."""
    return f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{_encoded(claims_of(name, path))}."


def hmac_signed(name: str, path: str, kid: str, secret: bytes, alg: str = "HS384") -> str:
    """A token signed with HMAC and a secret everybody knows: the public key."""
    signed = f"{_encoded({'alg': alg, 'typ': 'JWT', 'kid': kid})}.{_encoded(claims_of(name, path))}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha384 if alg == "HS384" else hashlib.sha256).digest()
    return f"{signed}.{_encoded(digest)}"


def refused(client: httpx.Client, reason: str) -> float:
    """How often calls were refused for a reason, by the service's own metric."""
    line = f'clozapine_cds_auth_refused_total{{reason="{reason}"}} '
    found = [
        float(text.removeprefix(line))
        for text in client.get("/metrics").text.splitlines()
        if text.startswith(line)
    ]
    return found[0] if found else 0.0
