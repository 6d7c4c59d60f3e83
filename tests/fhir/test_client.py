"""What is sent to a FHIR server with every read."""

from __future__ import annotations

import asyncio

import httpx

from service.fhir.client import FhirServer


def test_no_read_may_be_answered_from_a_memory_on_the_way() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async def read() -> bytes:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await FhirServer("https://ehr.example/fhir", client, "t").get("Patient/1")

    assert asyncio.run(read()) == b"{}"
    assert sent[0].headers["cache-control"] == "no-cache"
    assert sent[0].headers["authorization"] == "Bearer t"
