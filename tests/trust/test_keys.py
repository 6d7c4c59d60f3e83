"""Keys: what is read from a JWK Set, and when it is fetched again. Time is handed in."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis.strategies import DataObject, data, integers, sampled_from
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from jwt.utils import der_to_raw_signature

from cds_hooks.keys import CachedKeys, KeyNotFound, KeySetError, read_key_set
from cds_hooks.p384 import ES384, P384Key
from tests.signing import Signer, public_jwk


class Server:
    """A key server and a clock."""

    def __init__(self) -> None:
        self.signer = Signer()
        self.now = 1000.0
        self.fetched = 0
        self.down = False
        self.keys = CachedKeys(
            self.fetch,
            name="north",
            fresh_seconds=300,
            keep_seconds=3600,
            refetch_seconds=10,
            clock=lambda: self.now,
        )

    async def fetch(self) -> bytes:
        self.fetched += 1
        await asyncio.sleep(0)
        if self.down:
            raise OSError("away")
        return orjson.dumps(self.signer.jwks())

    async def ask(self, kid: str = "") -> str:
        """``found`` or the reason."""
        try:
            await self.keys.find(kid or self.signer.kid, "ES384")
        except KeyNotFound as missing:
            return missing.reason
        return "found"

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def test_one_fetch_serves_all() -> None:
    async def play() -> None:
        server = Server()
        assert await asyncio.gather(*(server.ask() for _ in range(30))) == ["found"] * 30
        assert server.fetched == 1
        server.now += 299
        assert await server.ask() == "found"
        assert server.fetched == 1

    asyncio.run(play())


def test_old_keys_are_refreshed_beside_the_call() -> None:
    async def play() -> None:
        server = Server()
        await server.ask()
        gone = server.signer.kid
        server.signer.rotate()
        server.now += 301
        assert await server.ask(gone) == "found"  # the call does not wait
        await server.settle()
        assert server.fetched == 2
        assert await server.ask() == "found"
        assert await server.ask(gone) == "kid-unknown"  # withdrawn at the EHR, withdrawn here

    asyncio.run(play())


def test_a_storm_of_unknown_kids_makes_one_fetch_per_pause() -> None:
    async def play() -> None:
        server = Server()
        await server.ask()
        for second in range(60):
            server.now += 1
            answers = await asyncio.gather(*(server.ask(f"made-up-{second}-{n}") for n in range(50)))
            assert set(answers) == {"kid-unknown"}
        assert server.fetched <= 1 + 6
        assert await server.ask() == "found"

    asyncio.run(play())


def test_a_rotation_is_found_at_once() -> None:
    async def play() -> None:
        server = Server()
        await server.ask()
        server.now += 11
        server.signer.rotate()
        assert await server.ask() == "found"
        assert server.fetched == 2

    asyncio.run(play())


def test_known_keys_go_on_for_a_time_while_the_server_is_down() -> None:
    async def play() -> None:
        server = Server()
        await server.ask()
        server.down = True
        for _ in range(11):
            server.now += 300
            assert await server.ask() == "found"
            await server.settle()
        assert server.fetched == 1 + 11
        server.now += 301
        assert await server.ask() == "keys-unavailable"
        assert server.keys.problem
        server.down = False
        server.now += 11
        assert await server.ask() == "found"
        assert not server.keys.problem

    asyncio.run(play())


def test_a_server_that_was_never_up() -> None:
    async def play() -> None:
        server = Server()
        server.down = True
        assert await server.ask() == "keys-unavailable"
        assert await server.ask() == "keys-unavailable"
        assert server.fetched == 1

    asyncio.run(play())


def test_a_caller_that_gives_up_does_not_stop_the_fetch_of_the_others() -> None:
    async def play() -> None:
        server = Server()
        gate = asyncio.Event()
        plain = server.fetch

        async def slow() -> bytes:
            await gate.wait()
            return await plain()

        server.keys._fetch = slow
        first, second = asyncio.create_task(server.ask()), asyncio.create_task(server.ask())
        await server.settle()
        first.cancel()
        gate.set()
        assert await second == "found"

    asyncio.run(play())


def _read(*keys: Any) -> Any:
    return read_key_set(orjson.dumps({"keys": keys}))


def test_what_a_key_set_may_hold() -> None:
    p384, p256 = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    long = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    found = _read(public_jwk(p384, "a"), public_jwk(p256, "b"), public_jwk(long, "c"))
    assert set(found.keys) == {("a", "ES384"), ("b", "ES256"), ("c", "RS384"), ("c", "RS256")}
    assert set(_read(public_jwk(long, "c") | {"alg": "RS384"}).keys) == {("c", "RS384")}


def test_keys_that_are_left_out_say_why() -> None:
    good = public_jwk(ec.generate_private_key(ec.SECP384R1()), "good")
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    bad = (
        ({**good, "kid": ""}, "kid"), ({**good, "use": "enc"}, "signatures"), ({**good, "key_ops": ["encrypt"]}, "signatures"),
        ({**good, "alg": "HS256"}, "fits none"), ({"kty": "oct", "k": "c2VjcmV0", "kid": "h"}, "fits none"),
        ({**good, "x": "AAAA"}, "not a key"), ({**good, "x": good["y"]}, "not a key"), (public_jwk(short, "s"), "too short"), (7, "object"),
        (public_jwk(ec.generate_private_key(ec.SECP521R1()), "p521"), "fits none"),
    )  # fmt: skip
    for entry, says in bad:
        found = _read(good, entry)
        assert found.kids == ("good",)
        assert len(found.left_out) == 1
        assert says in found.left_out[0]
    for content in (b"", b"[]", b'{"keys":{}}', b"\xff", b"[" * 100_000):
        with pytest.raises(KeySetError):
            read_key_set(content)


def test_a_private_key_in_the_set_is_not_taken_in() -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    leaked = ECAlgorithm.to_jwk(private, as_dict=True) | {"kid": "x"}
    (key,) = _read(leaked).keys.values()
    assert isinstance(key.public, ec.EllipticCurvePublicKey)


_MESSAGE = b"eyJhbGciOiJFUzM4NCJ9.eyJpc3MiOiJodHRwczovL2Voci5leGFtcGxlIn0"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def _signed(private: ec.EllipticCurvePrivateKey) -> bytes:
    return der_to_raw_signature(private.sign(_MESSAGE, ec.ECDSA(hashes.SHA384())), private.curve)


def test_p384_signatures_are_verified() -> None:
    private, other = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    key, signature = P384Key(private.public_key()), _signed(private)
    assert key.verified(_MESSAGE, signature)
    assert not key.verified(_MESSAGE + b" ", signature)
    assert not P384Key(other.public_key()).verified(_MESSAGE, signature)
    with pytest.raises(ValueError, match=r"P-384 is expected"):
        P384Key(ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 0), (0, 1), (1, 0), (1, 1), (_ORDER, 1), (1, _ORDER), (_ORDER - 1, _ORDER - 1), (2**384 - 1, 2**384 - 1)],
)  # fmt: skip
def test_numbers_that_no_signature_has_verify_nothing(r: int, s: int) -> None:
    key = P384Key(ec.generate_private_key(ec.SECP384R1()).public_key())
    assert not key.verified(_MESSAGE, r.to_bytes(48, "big") + s.to_bytes(48, "big"))


@settings(max_examples=60, deadline=None)
@given(data())
def test_both_libraries_judge_spoilt_signatures_alike(drawn: DataObject) -> None:
    private = ec.derive_private_key(drawn.draw(integers(1, 2**128)), ec.SECP384R1())
    signature = bytearray(_signed(private))
    for _ in range(drawn.draw(integers(0, 2))):
        signature[drawn.draw(integers(0, 95))] ^= drawn.draw(integers(0, 255))
    spoilt = bytes(signature[: drawn.draw(sampled_from((96, 96, 96, 95, 0)))])
    reference = ECAlgorithm(ECAlgorithm.SHA384).verify(_MESSAGE, private.public_key(), spoilt)
    assert P384Key(private.public_key()).verified(_MESSAGE, spoilt) is reference


def test_es384_takes_no_other_key() -> None:
    for stranger in (
        b"secret",
        "-----BEGIN PUBLIC KEY-----",
        ec.generate_private_key(ec.SECP384R1()).public_key(),
    ):
        with pytest.raises(InvalidKeyError):
            ES384().prepare_key(stranger)
