"""Calls that leave the service: listed names only, and every address a name stands for is looked at."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from service.fhir.client import FetchFailed, FhirServer
from service.ops.outbound import Guard, address_of, guarded_client, is_public
from service.site.settings import Settings
from service.site.trust import Directory
from service.store.database import engine_for
from tests.ehr import Ehr


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("::1", False),
        ("fe80::1", False), ("fd00::1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
        ("224.0.0.1", False), ("64:ff9b::808:808", True),
    ],
)  # fmt: skip
def test_public_and_other_addresses(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def _resolving(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> list[str]:
    """Names stand for what the test says; gives the names that were asked."""
    asked: list[str] = []

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if host not in answers:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in answers[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def _addresses(guard: Guard, host: str, port: int = 443) -> list[str]:
    return asyncio.run(guard.addresses(host, port))


def test_a_listed_name_and_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving(
        monkeypatch,
        {
            "ehr.example": ["93.184.216.34"],
            "inside.example": ["10.20.0.7"],
            "mixed.example": ["93.184.216.34", "127.0.0.1"],
            "meta.example": ["169.254.169.254"],
            "10.20.0.8": ["10.20.0.8"],
            "localhost": ["127.0.0.1"],
        },
    )
    names = (
        "ehr.example",
        "inside.example",
        "mixed.example",
        "meta.example",
        "gone.example",
        "10.20.0.8",
        "localhost",
    )
    listed = frozenset((name, 443) for name in names)
    guard = Guard(lambda: listed)
    assert _addresses(guard, "ehr.example") == ["93.184.216.34"]
    assert _addresses(guard, "EHR.example") == ["93.184.216.34"]
    assert _addresses(guard, "10.20.0.8") == ["10.20.0.8"]  # listed by its address
    assert _addresses(guard, "localhost") == ["127.0.0.1"]
    for name in ("inside.example", "mixed.example", "meta.example", "gone.example"):
        with pytest.raises(httpcore.ConnectError):
            _addresses(guard, name)
    inside = Guard(lambda: listed, [ipaddress.ip_network("10.20.0.0/16")])
    assert _addresses(inside, "inside.example") == ["10.20.0.7"]
    with pytest.raises(httpcore.ConnectError):
        _addresses(inside, "meta.example")


def test_a_name_that_is_not_listed_is_not_even_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _resolving(monkeypatch, {"evil.example": ["93.184.216.34"]})
    guard = Guard(lambda: frozenset({("ehr.example", 443)}))
    for host, port in (("evil.example", 443), ("ehr.example", 80), ("ehr.example", 22)):
        with pytest.raises(httpcore.ConnectError):
            _addresses(guard, host, port)
    assert asked == []


def test_the_connection_goes_to_the_address_that_was_checked(
    ehr: Ehr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers differently the second time (rebinding) gains nothing: it is asked once."""
    port = httpx.URL(ehr.base_url).port or 0
    answers = {"ehr.inside.example": ["127.0.0.1"]}
    asked = _resolving(monkeypatch, answers)
    url = f"http://ehr.inside.example:{port}"

    async def play() -> int:
        guard = Guard(lambda: frozenset({address_of(url)}), [ipaddress.ip_network("127.0.0.0/8")])
        async with guarded_client(guard) as client:
            return (await client.get(f"{url}/jwks")).status_code

    assert asyncio.run(play()) == 200
    assert asked == ["ehr.inside.example"]


def test_the_client_refuses_addresses_that_are_not_listed(ehr: Ehr) -> None:
    async def play() -> None:
        async with guarded_client(Guard(frozenset)) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"{ehr.base_url}/jwks")
            with pytest.raises(FetchFailed):
                await FhirServer(f"{ehr.base_url}/fhir", client).get("metadata")

    asyncio.run(play())
    assert ehr.keys_asked == 0


def test_a_webhook_is_listed_and_nothing_else_on_its_machine(ehr: Ehr, tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/x.db")

    async def status(**settings: Any) -> int:
        async with Directory(Settings(**settings), engine).new_client("default") as client:
            return (await client.get(f"{ehr.base_url}/jwks")).status_code

    assert asyncio.run(status(webhook=f"{ehr.base_url}/events", webhook_secret="s3cret")) == 200
    with pytest.raises(httpx.ConnectError):
        asyncio.run(status())
    engine.dispose()


def test_no_proxy_of_the_environment_is_used(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def play() -> int:
        async with guarded_client(Guard(lambda: frozenset({address_of(ehr.base_url)}))) as client:
            return (await client.get(f"{ehr.base_url}/jwks")).status_code

    assert asyncio.run(play()) == 200


@pytest.mark.parametrize(
    "path",
    ["../x", "%2e%2e/x", "Observation/%2E%2E/%2e%2e/x", "https://evil.example/fhir/x", "//evil.example/fhir"],
)
def test_links_stay_below_the_base(path: str) -> None:
    server = FhirServer("https://ehr.example/fhir", None)  # type: ignore[arg-type]
    with pytest.raises(FetchFailed):
        server.address(path)
