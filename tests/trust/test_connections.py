"""Slow FHIR servers and lost connections: what one EHR's server costs that EHR, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.data import anc, call, clozapine, codes, on_clozapine
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_LOW = ("anc-severe-neutropenia", "critical")


@pytest.fixture
def south() -> Iterator[Ehr]:
    """The FHIR server of another EHR."""
    server = Ehr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


def _call(ehr: Ehr) -> dict[str, Any]:
    """A call that brings nothing: all must be read."""
    access = {"access_token": ehr.token, "token_type": "Bearer"}
    return call(
        "order-sign", None, clozapine(300), fhirServer=f"{ehr.base_url}/fhir", fhirAuthorization=access
    )


def _ask(client: httpx.Client, ehr: Ehr, name: str) -> httpx.Response:
    return client.post(_SIGN, json=_call(ehr), headers=ehr.signer.bearer(name, _SIGN))


def _rounds(client: httpx.Client, ehr: Ehr, name: str, rounds: int, at_once: int) -> set[int]:
    """So many calls at once, again and again; gives the statuses."""

    async def play() -> set[int]:
        limits = httpx.Limits(max_connections=at_once)
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as own:
            found = set()
            for _ in range(rounds):
                answers = await asyncio.gather(
                    *(
                        own.post(
                            str(client.base_url).rstrip("/") + _SIGN,
                            json=_call(ehr),
                            headers=ehr.signer.bearer(name, _SIGN),
                        )
                        for _ in range(at_once)
                    )
                )
                found |= {a.status_code for a in answers}
            return found

    return asyncio.run(play())


def test_a_slow_fhir_server_takes_nothing_from_others_and_is_read_again_once_it_is_fast(
    start_service: Any, ehr: Ehr, south: Ehr
) -> None:
    sites = [e.settings(name, fhir_deadline_ms=300) for name, e in (("north", ehr), ("south", south))]
    client = start_service(auth="required", base_url=BASE, ehr=sites, key_refetch_seconds=0.2)
    for server in (ehr, south):
        server.add({"resourceType": "Patient", "id": "clz-p1"}, on_clozapine(), anc(0.4))
    ehr.delay_seconds = 1.0
    _rounds(client, ehr, "north", rounds=8, at_once=25)
    assert codes(_ask(client, south, "south").json())[0] == _LOW
    # A key set is fetched beside all that.
    south.signer.rotate()
    assert codes(_ask(client, south, "south").json())[0] == _LOW
    ehr.delay_seconds = 0.0
    assert codes(_ask(client, ehr, "north").json())[0] == _LOW
