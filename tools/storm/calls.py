"""The calls of the storm: charts of which the answer is known, and bodies that were made to hurt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import jwt
import orjson

from tests.data import anc, bundle, call, clozapine, observation, on_clozapine, order, prefetch
from tests.signing import BASE

Json = dict[str, Any]
SIGN = "/cds-services/clozapine-order-sign"
VIEW = "/cds-services/clozapine-patient-view"


def ordinary() -> list[tuple[str, Json]]:
    """(path, body) of calls as they come all day: nothing, a warning, and what must never be missed."""
    on = bundle(on_clozapine())
    return [
        (SIGN, call("order-sign", prefetch(), clozapine())),
        (SIGN, call("order-sign", prefetch(medications=on, counts=bundle(anc(0.4, 1))), clozapine(300))),
        (SIGN, call("order-sign", prefetch(medications=on, counts=bundle(anc(3.4, 1))), order("fluvoxamine 50 mg oral tablet"))),
        (VIEW, call("patient-view", prefetch(medications=on, counts=bundle(anc(1.2, 2))))),
        (SIGN, call("order-sign", prefetch(counts=bundle(anc(3.4, 1))), order("metformin 500 mg oral tablet"))),
        (VIEW, call("patient-view", prefetch(medications=on, counts=bundle(anc(3.4, 400))))),
    ]  # fmt: skip


def hostile() -> list[tuple[str, Json]]:
    """Texts and lists at which a reader could work for seconds, or break."""

    def dose(text: str) -> Json:
        return clozapine(300) | {"dosageInstruction": [{"text": text}]}

    def result(**more: Any) -> Json:
        return bundle(observation("751-8", None, None, 1, id="odd", **more))

    many = bundle(*(anc(3.0 + n % 7 / 10, n % 300, id=f"c{n}") for n in range(8000)))
    on = bundle(on_clozapine())
    return [
        (SIGN, call("order-sign", prefetch(medications=on), dose("()" * 4_000))),
        (SIGN, call("order-sign", prefetch(medications=on), dose("1 tablet (" * 200_000))),
        (SIGN, call("order-sign", prefetch(medications=on, counts=result(valueString=" " * 1_000_000)), clozapine(300))),
        (SIGN, call("order-sign", prefetch(medications=on), order("1 mg per" + " " * 500_000))),
        (SIGN, call("order-sign", prefetch(medications=on, counts=bundle(anc(0.4, 1, unit="\n# <b>[x](y)"))), clozapine(300))),
        (SIGN, call("order-sign", prefetch(medications=on, counts=result(valueString="9" * 60_000)), clozapine(300))),
        (SIGN, call("order-sign", prefetch(medications=on, counts=many), clozapine(300))),
        (SIGN, call("order-sign", prefetch(medications=bundle(on_clozapine(id="\u0001\u0002"))), dose("\u202e\u0000x" * 9_000))),
        (SIGN, call("order-sign", prefetch(medications=bundle(*(order(f"drug {n}", id=f"m{n}", status="active") for n in range(3000)))), clozapine())),
    ]  # fmt: skip


def unread(base: str, token: str) -> tuple[str, Json]:
    """A visit without prefetch: all of it is asked of the FHIR server."""
    access = {
        "fhirServer": base,
        "fhirAuthorization": {
            "access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read", "subject": "cds",
        },
    }  # fmt: skip
    return VIEW, call("patient-view", None, **access)


class Caller:
    """One EHR that calls.

    Args:
        name: of the EHR.
        kid: of its key.
        key: PEM, private.
    """

    def __init__(self, name: str, kid: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.name = name
        self._kid = kid
        self._key: Any = load_pem_private_key(key, None)

    def headers(self, path: str) -> dict[str, str]:
        """With a token for one call."""
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": f"https://{self.name}.example", "aud": BASE + path, "exp": now + 240, "iat": now, "jti": str(uuid4()),
        }  # fmt: skip
        token = jwt.encode(claims, self._key, "ES384", headers={"kid": self._kid})
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @staticmethod
    def body(content: Json) -> tuple[str, bytes]:
        """(hookInstance, bytes) of one more such call."""
        instance = str(uuid4())
        return instance, orjson.dumps(content | {"hookInstance": instance})
