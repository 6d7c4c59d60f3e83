"""``python -m bench``: this service against the same stack doing nothing, in one run, as ratios; and the core alone."""

from __future__ import annotations

import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench import auth, backtest, fetch, registry
from bench.data import NOW, order_sign
from bench.load import Burst, burst, check
from cds_hooks.context import HOOKS
from cds_hooks.request import envelope_reader, read_request
from service.alerts.evaluate import evaluate
from service.alerts.policy.policy import policy_by_id
from service.fhir import snapshot
from service.fhir.decode import Value
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES

#: (Observations, patients whose calls follow each other, aim). With one patient the same call comes again and again; of many each has
#: results of its own, and is remembered.
SIZES: tuple[tuple[int, int, float | None], ...] = (
    (1, 1, 0.35),
    (20, 1, 0.6),
    (20, 64, None),
    (200, 1, 1.0),
    (2000, 1, 2.0),
)
ROUNDS = 5
#: A burst: long enough for some calls of each connection, also of the largest size on a slow machine.
SECONDS = 1
SECONDS_OF_LARGE = 4
LARGE_OBSERVATIONS = 2000
#: Connections at once: one EHR session alone, and a busy hour.
CONNECTIONS = (1, 8)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _start(kind: str) -> tuple[subprocess.Popen[bytes], int]:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.servers", kind, str(port)], stdout=subprocess.DEVNULL
    )
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return process, port
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the {kind} server did not start")


def _summary(bursts: list[Burst]) -> dict[str, float]:
    return {
        "requests_per_second": statistics.median(b.per_second for b in bursts),
        "p50_ms": statistics.median(b.p50_ms for b in bursts),
        "p99_ms": statistics.median(b.p99_ms for b in bursts),
    }


def http() -> list[dict[str, Any]]:
    """Both servers in turn, for each size and number of connections."""
    servers = {kind: _start(kind) for kind in ("baseline", "service")}
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for size, patients, aim in SIZES:
                bodies = [Path(folder) / f"{size}-{number}.json" for number in range(patients)]
                for number, path in enumerate(bodies):
                    path.write_bytes(order_sign(size, patient=number))
                for _, port in servers.values():
                    check(port, bodies[0].read_bytes())
                seconds = SECONDS if size < LARGE_OBSERVATIONS else SECONDS_OF_LARGE
                for connections in CONNECTIONS:
                    row = {"observations": size, "patients": patients, "connections": connections}
                    row |= {"bytes": bodies[0].stat().st_size, "aim": aim if connections == 1 else None}
                    rows.append(
                        row
                        | _compared(
                            {kind: port for kind, (_, port) in servers.items()}, bodies, connections, seconds
                        )
                    )
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait(10)
    return rows


def _compared(ports: dict[str, int], bodies: list[Path], connections: int, seconds: int) -> dict[str, Any]:
    """Rounds of one burst at each server; the ratio is that of each round, so that a machine that drifts does not decide it."""
    seen: dict[str, list[Burst]] = {kind: [] for kind in ports}
    for _ in range(ROUNDS):
        for kind, port in ports.items():
            seen[kind].append(burst(port, bodies, connections, seconds))
    ratios = [s.per_second / b.per_second for s, b in zip(seen["service"], seen["baseline"], strict=True)]
    return {"ratio": statistics.median(ratios)} | {kind: _summary(bursts) for kind, bursts in seen.items()}


def core(observations: int = 200, medications: int = 30) -> dict[str, float]:
    """The steps of one call in this process, ms (best of many)."""
    body = order_sign(observations, medications)
    policy = policy_by_id("us-label-2025")
    read_envelope = envelope_reader(Value | None)

    def request() -> Any:
        return read_request(body, "clozapine-order-sign", HOOKS["order-sign"], None, read_envelope)

    read = request()

    def gathered() -> Any:
        return from_prefetch(read.prefetch, dict.fromkeys(QUERIES))[0]

    data = gathered()

    def built() -> Any:
        return snapshot.build(
            patient_id="clz-p1",
            hook="order-sign",
            zone=UTC,
            gathered=data,
            orders=read.context.orders,
        )

    facts = built()
    steps = {
        "orjson.loads of the body": lambda: orjson.loads(body),
        "read request and prefetch": request,
        "gather": gathered,
        "build snapshot": built,
        "evaluate": lambda: evaluate(facts, policy, NOW),
    }
    return {name: _best(step) for name, step in steps.items()}


def _best(step: Any) -> float:
    times = []
    for _ in range(60):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def main() -> int:
    """Run everything, print tables, write ``bench/latest.json``."""
    console = Console(width=max(110, Console().width))  # a narrower table hides its headings
    console.print(
        "wrk on one core, each server on the other; service and baseline in turn, ratio = calls/s of the service over the baseline's."
    )
    rows = http()
    table = Table(
        "Observations",
        "patients",
        "connections",
        "body kB",
        "service req/s",
        "p50 ms",
        "p99 ms",
        "baseline req/s",
        "p50 ms",
        "p99 ms",
        "ratio",
        "aim",
    )
    for row in rows:
        s, b = row["service"], row["baseline"]
        met = "" if row["aim"] is None else "[green]" if row["ratio"] >= row["aim"] else "[red]"
        table.add_row(
            str(row["observations"]), str(row["patients"]), str(row["connections"]), f"{row['bytes'] / 1000:.0f}", f"{s['requests_per_second']:.0f}", f"{s['p50_ms']:.2f}", f"{s['p99_ms']:.2f}",
            f"{b['requests_per_second']:.0f}", f"{b['p50_ms']:.2f}", f"{b['p99_ms']:.2f}", f"{met}{row['ratio']:.2f}", f"{row['aim'] or ''}",
        )  # fmt: skip
    console.print(table)
    parts = core()
    steps = Table("step (200 Observations, 30 medications)", "ms")
    for name, ms in parts.items():
        steps.add_row(name, f"{ms:.3f}")
    console.print(steps)
    watching = registry.measure()
    sweeps = Table("patients swept, no new data", "s", "patients/s", "peak MB")
    for run in watching["sweeps"]:
        sweeps.add_row(
            str(run["patients"]), f"{run['seconds']:.1f}", f"{run['per_second']:.0f}", f"{run['peak_mb']:.0f}"
        )
    console.print(sweeps)
    console.print(
        f"slope {watching['ms_per_patient']:.2f} ms a patient: 200 000 patients in {watching['minutes_for_200000']:.1f} min; "
        f"a worklist page of 200 000 patients {watching['page_of_200000_ms']:.1f} ms"
    )
    exports = backtest.measure()
    console.print(backtest.table(exports))
    checks = auth.measure()
    tokens = Table(
        "client token",
        "signature alone ms",
        "whole check ms",
        "own share ms",
        "with the database ms",
        "aim ms",
    )
    for algorithm, ms in checks.items():
        met = "[green]" if ms["check"] <= auth.AIM else "[red]"
        own = ms["check"] - ms["signature"]
        tokens.add_row(
            algorithm, f"{ms['signature']:.3f}", f"{met}{ms['check']:.3f}", f"{own:.3f}", f"{ms['shared']:.3f}", f"{auth.AIM}"
        )  # fmt: skip
    console.print(tokens)
    fetching = fetch.measure()
    met = "[green]" if fetching["added_ms"] < fetch.AIM else "[red]"
    console.print(
        f"eleven searches of 50 ms: {fetching['fetched_ms']:.1f} ms a call against {fetching['prefetch_ms']:.1f} ms with prefetch, "
        f"{met}{fetching['added_ms']:.1f} ms[/] more (aim {fetch.AIM})"
    )
    result = {
        "fetch": fetching,
        "registry": watching,
        "backtest": exports,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "http": rows,
        "core_ms": parts,
        "auth_ms": checks,
    }
    Path(__file__).with_name("latest.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
