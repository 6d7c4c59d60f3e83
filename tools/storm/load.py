"""The steady calls of both sites, through what a balancer does: send to whoever is ready."""

from __future__ import annotations

import asyncio
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import msgspec
import orjson

from tools.storm.calls import Caller, ordinary

_READY_EVERY = 0.25
#: Longer than the service lets any call wait.
_PATIENCE = 15.0


class Call(msgspec.Struct):
    """One call as its client saw it. ``at``: seconds, monotonic, when it was due; status 0: no answer.

    ``late``: milliseconds between when it was due and when the client, which shares the machine, came to send it.
    """

    at: float
    site: str
    chart: int
    instance: str
    status: int
    milliseconds: float
    found: list[str]
    fault: str = ""
    late: float = 0.0


def steady(pipe: Connection, callers: dict[str, tuple[str, bytes]], per_second: float, results: str) -> None:
    """Call, in turns for each site, until the process ends; ("targets", [base, …]) says where to. A line of ``results`` a call."""
    asyncio.run(_Steady(pipe, callers, per_second, Path(results)).run())


class _Steady:
    def __init__(
        self, pipe: Connection, callers: dict[str, tuple[str, bytes]], per_second: float, results: Path
    ) -> None:
        self._pipe = pipe
        self._callers = [Caller(name, *key) for name, key in callers.items()]
        self._pause = 1 / per_second
        self._results = results.open("ab", buffering=0)
        self._charts = ordinary()
        self._targets: list[str] = []
        self._ready: list[str] = []
        limits = httpx.Limits(max_connections=200, keepalive_expiry=2.0)
        self._client = httpx.AsyncClient(trust_env=False, timeout=_PATIENCE, limits=limits, verify=False)

    async def run(self) -> None:
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._told)
        balancing = asyncio.create_task(self._balance())
        under_way: set[asyncio.Task[None]] = set()
        due, number = time.monotonic(), 0
        while not balancing.done():
            due += self._pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._ready:
                task = asyncio.create_task(self._call(number, due))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                number += 1

    def _told(self) -> None:
        _, self._targets = self._pipe.recv()
        self._ready = [base for base in self._ready if base in self._targets] or self._targets[:1]
        self._pipe.send(None)

    async def _balance(self) -> None:
        while True:
            ready = []
            for base in self._targets:
                try:
                    answer = await self._client.get(f"{base}/health/ready", timeout=2.0)
                except httpx.HTTPError:
                    continue
                if answer.status_code == 200:
                    ready.append(base)
            self._ready = ready or self._ready
            await asyncio.sleep(_READY_EVERY)

    async def _call(self, number: int, due: float) -> None:
        caller = self._callers[number % len(self._callers)]
        chart = number // len(self._callers) % len(self._charts)
        path, content = self._charts[chart]
        instance, body = caller.body(content)
        made = Call(due, caller.name, chart, instance, 0, 0.0, [])
        base = self._ready[number % len(self._ready)]
        headers = caller.headers(path)
        made.late = (time.monotonic() - due) * 1000
        try:
            answer = await self._client.post(base + path, content=body, headers=headers)
        except httpx.HTTPError as error:
            made.fault = type(error).__name__
        else:
            made.status = answer.status_code
            if answer.status_code == 200:
                made.found = [
                    f"{card['source']['topic']['code']}:{card['indicator']}"
                    for card in orjson.loads(answer.content)["cards"]
                ]
        made.milliseconds = (time.monotonic() - due) * 1000
        self._results.write(msgspec.json.encode(made) + b"\n")
