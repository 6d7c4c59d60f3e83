"""Things in processes of their own, so that none of them waits for another's interpreter: EHRs, the wire to the database, the steady calls."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from tests.ehr import Ehr
from tests.hanging import wire_to
from tests.server import serving

_FORKS = multiprocessing.get_context("spawn")


class Aside:
    """A process that takes orders: (name, value) pairs.

    Args:
        target: runs there, with the other end of a pipe and the arguments.
        arguments: for it.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._here, there = _FORKS.Pipe()
        self._process = _FORKS.Process(target=target, args=(there, *arguments), daemon=True)
        self._process.start()

    def hears(self) -> Any:
        """What it says next."""
        if not self._here.poll(120):
            raise RuntimeError("a process of the storm says nothing")
        return self._here.recv()

    def do(self, name: str, value: Any = None) -> Any:
        """Give an order and wait for what it says."""
        self._here.send((name, value))
        return self.hears()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def ehrs(pipe: Connection, names: list[str]) -> None:
    """EHRs of these names; says their tables for the configuration and private keys, then sets attributes: ("north.delay_seconds", 2.0)."""
    with ExitStack() as stack:
        known: dict[str, Ehr] = {}
        for name in names:
            known[name] = Ehr()
            known[name].base_url = stack.enter_context(serving(known[name].app))
        pipe.send({n: (e.settings(n), e.signer.kid, _private(e), e.token) for n, e in known.items()})
        while True:
            what, value = pipe.recv()
            name, _, attribute = what.partition(".")
            setattr(known[name], attribute, value)
            pipe.send(None)


def _private(ehr: Ehr) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made: bytes = ehr.signer.keys[ehr.signer.kid].private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return made


def wire(pipe: Connection, upstream: str) -> None:
    """A wire to the database; says its URL, then takes ``hold``, ``release`` and ``delay`` (seconds for each piece)."""
    with wire_to(upstream) as found:
        pipe.send(found.url)
        while True:
            what, value = pipe.recv()
            if what == "delay":
                found.delay_seconds = value
            else:
                getattr(found, what)()
            pipe.send(None)
