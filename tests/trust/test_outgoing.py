"""Calls that leave the service: every answer is bounded, tokens stay with their server, and nothing strange becomes an address."""

from __future__ import annotations

import asyncio
import gzip
import re
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.fhir import bounded
from service.fhir.backend import BackendToken, Credentials
from service.fhir.client import FetchFailed, FhirServer
from service.ops.outbound import Guard, OutboundError, address_of, fetch_key_set, guarded_client
from service.registry import bulk, delivery
from service.registry.refresh import queries_of
from service.registry.roster import enrol
from service.site.settings import Settings
from service.site.trust import Directory
from service.store.database import engine_for
from tests.data import NOW
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE, Signer

_ROOT = Path(__file__).parents[2]
#: 150 MB in 150 kB.
_BOMB = gzip.compress(b'{"access_token":"' + b"a" * 150_000_000, 6)


class Hostile:
    """Answers every request with what unpacks to a thousand times as much."""

    def __init__(self) -> None:
        self.base_url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-encoding", b"gzip"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _BOMB})


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    """One for all."""
    server = Hostile()
    with serving(server) as base_url:
        server.base_url = base_url
        yield server


def _client(*urls: str) -> httpx.AsyncClient:
    return guarded_client(Guard(lambda: frozenset(map(address_of, urls))))


async def _token() -> str:
    return "secret"


async def _read_export_file(client: httpx.AsyncClient, url: str) -> None:
    async for _ in bulk._lines(client, f"{url}/file", _token):
        pass


async def _token_endpoint(client: httpx.AsyncClient, url: str) -> None:
    signer = Signer()
    of = Credentials("cds", f"{url}/token", signer.keys[signer.kid], signer.kid, "ES384", "system/*.read")
    await BackendToken(of, client, lambda: NOW)()


_READERS: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[object]]] = {
    "search": lambda client, url: FhirServer(url, client).get("Observation"),
    "token": _token_endpoint,
    "manifest": lambda client, url: bulk._ask(client, f"{url}/state", _token),
    "file": _read_export_file,
    "notice": lambda client, url: delivery._ask(client, "GET", f"{url}/Task/1", {}),
    "keys": lambda client, url: fetch_key_set(client, f"{url}/jwks"),
}


def _memory_of(reader: Callable[[httpx.AsyncClient, str], Awaitable[object]], url: str) -> int:
    """The most memory that a reader held, bytes."""

    async def play() -> None:
        async with _client(url) as client:
            await reader(client, url)

    tracemalloc.start()
    try:
        asyncio.run(play())
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("name", _READERS)
def test_an_answer_that_unpacks_to_a_thousand_times_its_size_is_refused(hostile: Hostile, name: str) -> None:
    tracemalloc.start()
    try:

        async def play() -> None:
            async with _client(hostile.base_url) as client:
                with pytest.raises((FetchFailed, OutboundError, delivery._Refused)) as refusal:
                    await _READERS[name](client, hostile.base_url)
            assert re.search("too large|compresses its answer", str(refusal.value))

        asyncio.run(play())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 40_000_000


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_was_written_is_written_whatever_its_answer_unpacks_to(hostile: Hostile, method: str) -> None:
    """A webhook and a notice: told once, not again and again."""
    most = _memory_of(
        lambda client, url: delivery._ask(client, method, f"{url}/Task", {}, b"{}"), hostile.base_url
    )
    assert most < 20_000_000


def test_no_answer_is_read_but_by_the_one_helper() -> None:
    by_itself = re.compile(
        r"\.a(read|iter_(bytes|raw|text|lines))\(|client\.(get|post|put|patch|delete|request|send)\(|\.json\(\)"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in (_ROOT / "service").rglob("*.py")
        if path.name not in ("bounded.py", "demo.py")
        for line in path.read_text().splitlines()
        if by_itself.search(line) and "self.access.client(" not in line
    ]
    assert found == []


class _Stream(httpx.AsyncByteStream):
    """A body that comes in parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    async def __aiter__(self) -> Any:
        for part in self.parts:
            yield part


def _answer(parts: list[bytes], encoding: str = "gzip") -> httpx.Response:
    return httpx.Response(200, headers={"Content-Encoding": encoding}, stream=_Stream(parts))


def _crumbs(text: bytes, size: int = 7) -> list[bytes]:
    return [text[n : n + size] for n in range(0, len(text), size)]


def test_bodies_come_through_whole() -> None:
    text = bytes(range(256)) * 3000

    async def play() -> None:
        packed = gzip.compress(text)
        assert await bounded.body(_answer([text], "identity")) == text
        assert await bounded.body(_answer([packed])) == text
        assert await bounded.body(_answer(_crumbs(packed))) == text
        assert await bounded.body(_answer([packed + packed])) == text + text
        assert await bounded.body(_answer([text], "identity"), len(text)) == text
        assert await bounded.body(_answer([packed]), len(text)) == text
        assert await bounded.body(_answer([b""])) == b""
        for broken in (packed[:-9], b"no gzip", packed + b"x"):
            with pytest.raises(bounded.BodyRefused):
                await bounded.body(_answer([broken]))
        for encoding in ("gzip", "identity"):
            with pytest.raises(bounded.BodyRefused):
                await bounded.body(_answer([packed if encoding == "gzip" else text], encoding), len(text) - 1)
        with pytest.raises(bounded.BodyRefused):
            await bounded.body(_answer([text], "br"))

    asyncio.run(play())


def test_lines_of_any_cut_come_through_and_one_that_is_too_long_is_named() -> None:
    async def read(text: bytes, cut: int) -> list[bytes | None]:
        return [line async for line in bounded.lines(_answer(_crumbs(gzip.compress(text), cut)), 10, 1000)]

    for cut in (3, 1000):
        assert asyncio.run(read(b"one\r\n\ntwo\n", cut)) == [b"one", b"two"]
        assert asyncio.run(read(b"one\n" + b"x" * 11 + b"\nthree", cut)) == [b"one", None, b"three"]
        assert asyncio.run(read(b"x" * 500, cut)) == [None]


@pytest.mark.parametrize("where", ["https://evil.example/state", "http://ehr.example/state", "//evil.example/x",
                                   "https://ehr.example:8443/state", "https://ehr.example@evil.example/", "http://["])  # fmt: skip
def test_the_token_of_an_export_is_shown_to_its_own_server_only(where: str) -> None:
    shown: list[tuple[str, str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        shown.append((request.method, request.url.host, request.headers.get("authorization")))
        return httpx.Response(202, headers={"Content-Location": where}, stream=_Stream([]))

    async def kick_off() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            with pytest.raises(FetchFailed, match="another server"):
                await bulk._manifest(
                    client, "https://ehr.example/fhir/Patient/$export", _token, 0.0, timedelta(seconds=5)
                )

    asyncio.run(kick_off())
    assert shown == [("GET", "ehr.example", "Bearer secret")]


def test_a_file_elsewhere_is_read_without_the_token(tmp_path: Path) -> None:
    shown: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        shown[str(request.url)] = request.headers.get("authorization")
        return httpx.Response(200, stream=_Stream([]))

    urls = ["https://ehr.example/files/1", "https://store.example/files/2", "https://EHR.example:443/files/3"]
    manifest = bulk._Manifest([bulk._File("Patient", url) for url in urls], requires_access_token=True)

    async def download() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await bulk._download(client, manifest, _token, tmp_path, {}, "https://ehr.example/fhir")

    asyncio.run(download())
    assert list(shown.values()) == ["Bearer secret", None, "Bearer secret"]


def test_what_works_for_one_site_reaches_no_server_of_another(ehr: Ehr, tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/x.db")
    other = ehr.settings("south") | {
        "fhir_servers": ["https://south.example/fhir"], "jwks_uri": "https://south.example/keys",
    }  # fmt: skip
    directory = Directory(
        Settings(auth="required", base_url=BASE, ehr=[ehr.settings("north"), other]), engine
    )

    async def status(site: str) -> int:
        async with directory.new_client(site) as client:
            return (await client.get(f"{ehr.base_url}/fhir/metadata")).status_code

    assert asyncio.run(status("north")) == 200
    for site in ("south", "nobody"):
        with pytest.raises(httpx.ConnectError):
            asyncio.run(status(site))
    engine.dispose()


_ODD_IDS = [
    "1&_revinclude=Observation:subject",
    "../Patient",
    "1?x",
    "a/b",
    "",
    "..",
    "x" * 65,
    "[/x]",
    "1\n",
]


@pytest.mark.parametrize("odd", _ODD_IDS)
def test_an_id_that_is_none_is_neither_enrolled_nor_put_into_an_address(odd: str) -> None:
    from zoneinfo import ZoneInfo

    from service.alerts.facts.patient import PatientSnapshot
    from service.alerts.policy.policy import policy_by_id

    with pytest.raises(ValueError, match="no FHIR id"):
        queries_of(odd, None)
    snapshot = PatientSnapshot(patient_id=odd, hook="sweep", zone=ZoneInfo("UTC"))
    # Refused before the database is asked anything.
    assert enrol(None, "north", policy_by_id("us-label-2025"), snapshot, NOW) is None  # type: ignore[arg-type]
    told = bounded.Answer(201, httpx.Headers({"Location": f"https://ehr.example/fhir/Task/{odd}"}), b"{}")
    location = delivery._location(told, "Task")
    assert location in ("", "Task/a")  # of a/b the first part is an id
    assert delivery._location(bounded.Answer(201, httpx.Headers(), b'{"id":"../x"}'), "Task") == ""
