"""What is done to the service, or to what it needs: each begins, lasts, and is over. ``north`` is the site whose fault it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from itertools import cycle

import httpx

from tools.storm.calls import SIGN, Caller, Json, hostile, unread
from tools.storm.place import Place

#: Connections of a flood.
_CONNECTIONS = 200
Statuses = dict[str, int]
Fault = Callable[[Place, float], Statuses]


def _count(statuses: Statuses, what: int | str) -> None:
    statuses[str(what)] = statuses.get(str(what), 0) + 1


async def _calls(
    place: Place, seconds: float, per_second: float, bodies: list[tuple[str, Json]], waits: float = 15.0
) -> Statuses:
    """Calls of north beside its ordinary ones."""
    statuses: Statuses = {}
    limits = httpx.Limits(max_connections=300, keepalive_expiry=2.0)
    prepared = cycle([(path, Caller.body(content)[1]) for path, content in bodies])

    async def one(client: httpx.AsyncClient, path: str, body: bytes) -> None:
        try:
            answer = await client.post(
                place.service.base + path, content=body, headers=place.attacker.headers(path)
            )
            _count(statuses, answer.status_code)
        except httpx.HTTPError as error:
            _count(statuses, type(error).__name__)

    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=waits, limits=limits) as client:
        ends = time.monotonic() + seconds
        tasks = []
        while time.monotonic() < ends:
            tasks.append(asyncio.create_task(one(client, *next(prepared))))
            await asyncio.sleep(1 / per_second)
        await asyncio.gather(*tasks)
    return statuses


def calm(place: Place, seconds: float) -> Statuses:
    """Nothing: what is normal here."""
    time.sleep(seconds)
    return {}


def pathological_texts(place: Place, seconds: float) -> Statuses:
    """Texts and lists made to cost time: up to 4 MB a call, five a second."""
    return asyncio.run(_calls(place, seconds, 5, hostile()))


def slow_fhir_server(place: Place, seconds: float) -> Statuses:
    """The FHIR server of north takes two seconds for each search; thirty visits a second come without prefetch."""
    place.ehrs.do("north.delay_seconds", 2.0)
    base = place.tables["north"]["fhir_servers"][0]
    try:
        return asyncio.run(_calls(place, seconds, 30, [unread(base, place.token["north"])]))
    finally:
        place.ehrs.do("north.delay_seconds", 0.0)


def _flood(place: Place, seconds: float, first: Callable[[], bytes], more: bytes) -> Statuses:
    """Connections that send a beginning and then a little every half second, and are opened anew when they are ended."""
    statuses: Statuses = {}
    held: dict[int, socket.socket] = {}
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for number in range(_CONNECTIONS):
            if number not in held:
                try:
                    made = socket.create_connection(("127.0.0.1", place.service.port), 2)
                    made.setblocking(False)
                    made.send(first())
                    held[number] = made
                except OSError as error:
                    _count(statuses, type(error).__name__)
                continue
            try:
                answer = held[number].recv(100)
                _count(statuses, answer[9:12].decode("latin-1") if answer else "closed")
                held.pop(number).close()
            except BlockingIOError:
                try:
                    held[number].send(more)
                except OSError:
                    held.pop(number).close()
            except OSError:
                held.pop(number).close()
        time.sleep(0.5)
    for left in held.values():
        left.close()
    statuses["held"] = len(held)
    return statuses


def slow_bodies(place: Place, seconds: float) -> Statuses:
    """Two hundred calls of north, with its token, whose bodies come at a few bytes a second."""

    def first() -> bytes:
        token = place.attacker.headers(SIGN)["Authorization"]
        return (
            f"POST {SIGN} HTTP/1.1\r\nHost: cds.hospital.example\r\nAuthorization: {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"
        ).encode()

    return _flood(place, seconds, first, b"  ")


def header_floods(place: Place, seconds: float) -> Statuses:
    """Two hundred connections whose heads never end: 60 kB at once, then a line every half second."""
    head = b"POST " + SIGN.encode() + b" HTTP/1.1\r\nHost: cds.hospital.example\r\nX-A: " + b"a" * 60_000
    return _flood(place, seconds, lambda: head, b"\r\nX-B: " + b"b" * 900)


def database_stopped(place: Place, seconds: float) -> Statuses:
    """PostgreSQL is stopped: connections are ended, new ones refused."""
    place.server.stop()
    time.sleep(seconds)
    place.server.start()
    return {}


def database_hangs(place: Place, seconds: float) -> Statuses:
    """PostgreSQL neither answers nor refuses."""
    place.wire.do("hold")
    time.sleep(seconds)
    place.wire.do("release")
    return {}


def database_slow(place: Place, seconds: float) -> Statuses:
    """Each piece between service and PostgreSQL takes 200 ms."""
    place.wire.do("delay", 0.2)
    time.sleep(seconds)
    place.wire.do("delay", 0.0)
    return {}


def key_server_gone(place: Place, seconds: float) -> Statuses:
    """The keys of north cannot be read; those known are older than they should be."""
    place.ehrs.do("north.keys_down", True)
    time.sleep(seconds)
    place.ehrs.do("north.keys_down", False)
    return {}


def killed_worker(place: Place, seconds: float) -> Statuses:
    """SIGKILL of one of the processes, under load."""
    pids = place.service.pids()
    os.kill(pids[0], signal.SIGKILL)
    time.sleep(seconds)
    return {}


def terminated(place: Place, seconds: float) -> Statuses:
    """A rolling restart: the new service is started, the old one gets SIGTERM; the balancer looks at readiness every quarter second."""
    old, new = place.service, place.another()
    place.balance(old, new)
    time.sleep(1)
    old.stop()
    old.process.wait(60)
    place.balance(new)
    place.service = new
    time.sleep(seconds)
    return {}


FAULTS: dict[str, Fault] = {
    "none": calm,
    "pathological texts": pathological_texts,
    "slow FHIR server": slow_fhir_server,
    "slow bodies": slow_bodies,
    "header floods": header_floods,
    "database stopped": database_stopped,
    "database hangs": database_hangs,
    "database slow": database_slow,
    "key server gone": key_server_gone,
    "SIGKILL of a worker": killed_worker,
    "SIGTERM, rolling restart": terminated,
}
