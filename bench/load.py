"""The load: wrk, an independent generator, with one connection or several."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
from msgspec import Struct

_SCRIPT = Path(__file__).with_name("calls.lua")
_PATH = "/cds-services/clozapine-order-sign"


class Burst(Struct, frozen=True):
    """What one run of the generator saw; latencies are those of the calls, waiting in the server's queue included."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        """Calls answered per second."""
        return self.requests / self.seconds


def check(port: int, body: bytes) -> None:
    """One call by another client: what is measured must be answers. Raises RuntimeError when it is not."""
    answer = httpx.post(
        f"http://127.0.0.1:{port}{_PATH}",
        content=body,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    if answer.status_code != 200 or not answer.content.startswith(b'{"cards":['):
        raise RuntimeError(f"the server answered {answer.status_code}: {answer.content[:200]!r}")


def burst(port: int, bodies: Sequence[Path], connections: int, seconds: int) -> Burst:
    """Calls with the bodies in turn over so many connections for so long.

    Raises RuntimeError when a call failed (a refusal is quick, and would look like speed), or when none ended in the time.
    """
    done = subprocess.run(
        [
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "10s",
            "--script", str(_SCRIPT), f"http://127.0.0.1:{port}{_PATH}", "--", *map(str, bodies),
        ],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=_on_the_other_core,
    )  # fmt: skip
    seen = Burst(**json.loads(done.stdout.strip().splitlines()[-1]))
    if seen.failed:
        raise RuntimeError(f"{seen.failed} of {seen.requests} calls failed")
    if not seen.requests:
        raise RuntimeError(f"no call ended within {seconds} s over {connections} connections")
    return seen


def _on_the_other_core() -> None:
    """The server has the first core for itself."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
