"""A stop takes an answer from nobody, and several processes behind one socket answer as one (issue: outages)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from service.store.database import engine_for, upgrade
from tests.command import clean_environment
from tests.data import call, clozapine, prefetch

_SIGN = "/cds-services/clozapine-order-sign"


class Served:
    """A started ``clozapine-cds serve``."""

    def __init__(self, process: subprocess.Popen[bytes], base: str, database: str) -> None:
        self.process = process
        self.base = base
        self.database = database

    def get(self, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=False, timeout=10) as client:
            return client.get(self.base + path)

    def sign(self, client: httpx.Client | None = None) -> tuple[str, httpx.Response]:
        body = call("order-sign", prefetch(), clozapine()) | {"hookInstance": str(uuid4())}
        if client is not None:
            return body["hookInstance"], client.post(self.base + _SIGN, json=body)
        with httpx.Client(trust_env=False, verify=False, timeout=10) as new:
            return body["hookInstance"], new.post(self.base + _SIGN, json=body)

    def recorded(self) -> set[str]:
        engine = engine_for(self.database)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT hook_instance FROM hook_call")).scalars().all()
        engine.dispose()
        return set(rows)

    def counted(self) -> float:
        """Answered calls, by the service's own metric."""
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if (
                    sample.name == "clozapine_cds_requests_total"
                    and sample.labels["service"] == "clozapine-order-sign"
                ):
                    return sample.value
        return 0.0


@contextmanager
def _served(folder: Path, *options: str, **settings: str) -> Iterator[Served]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    database = f"sqlite:///{folder}/var/stop.db"
    environment = clean_environment() | {
        "CLOZAPINE_CDS_DATABASE_URL": database, "CLOZAPINE_CDS_ENROL": "false",
        **{f"CLOZAPINE_CDS_{name.upper()}": value for name, value in settings.items()},
    }  # fmt: skip
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("clozapine-cds")), "serve", "--port", str(port), *options],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    served = Served(process, f"http://127.0.0.1:{port}", database)
    try:
        _soon(lambda: served.get("/health/ready").status_code == 200, 240)
        yield served
    finally:
        process.kill()
        process.wait()


def _soon(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come to hold")


def test_readiness_goes_first_and_everything_that_still_comes_is_answered_and_recorded(
    tmp_path: Path,
) -> None:
    with _served(tmp_path, drain_seconds="4") as served:
        answered: list[str] = []
        failed: list[str] = []
        asked = threading.Event()

        def calling() -> None:
            # As a balancer does: it goes on until it has seen that this one is not ready.
            with httpx.Client(trust_env=False, verify=False, timeout=10) as kept:
                while not asked.wait(0.01):
                    try:
                        instance, answer = served.sign(kept)
                    except httpx.HTTPError as error:
                        failed.append(type(error).__name__)
                        continue
                    assert answer.status_code == 200
                    answered.append(instance)

        threads = [threading.Thread(target=calling, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        _soon(lambda: served.get("/health/ready").status_code == 503, 1)
        red = served.get("/health/ready").json()
        assert "about to stop" in red["checks"]["serving"][0]["output"]
        assert served.get("/health/live").status_code == 200
        _, late = served.sign()
        assert late.status_code == 200
        assert late.headers["connection"] == "close"
        time.sleep(0.3)
        asked.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert served.process.wait(20) in (0, -signal.SIGTERM)
        assert time.monotonic() - told >= 4
        assert set(answered) <= served.recorded()
        assert len(answered) > 20


def test_a_person_at_the_terminal_does_not_wait(tmp_path: Path) -> None:
    with _served(tmp_path, drain_seconds="60") as served:
        served.process.send_signal(signal.SIGINT)
        served.process.wait(15)


def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    with _served(tmp_path, drain_seconds="60") as served:
        served.process.send_signal(signal.SIGTERM)
        _soon(lambda: served.get("/health/ready").status_code == 503, 5)
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(15)


def _workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [
        int(pid)
        for path in Path(f"/proc/{process.pid}/task").glob("*/children")
        for pid in path.read_text().split()
        if "service.web.worker" in Path(f"/proc/{pid}/cmdline").read_text()
    ]


def test_several_processes_count_and_tell_as_one_and_a_killed_one_costs_its_calls_only(
    tmp_path: Path,
) -> None:
    with _served(tmp_path, "--workers", "2", drain_seconds="0.5") as served:
        _soon(lambda: "processes" in served.get("/health").json()["checks"])
        _soon(lambda: served.get("/health").json()["checks"]["processes"][0]["status"] == "pass")
        instances = [served.sign()[0] for _ in range(40)]
        time.sleep(2.5)
        assert {served.counted() for _ in range(12)} == {40.0}  # whichever answers
        killed, other = _workers_of(served.process)
        os.kill(killed, signal.SIGKILL)
        _soon(lambda: len(_workers_of(served.process)) == 2 and killed not in _workers_of(served.process))
        assert other in _workers_of(served.process)
        instances += [served.sign()[0] for _ in range(10)]
        time.sleep(2.5)
        assert {served.counted() for _ in range(12)} == {50.0}
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0
        assert set(instances) == served.recorded()


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    with _served(tmp_path, "--workers", "2", drain_seconds="0.2") as served:
        left = _workers_of(served.process)
        assert len(left) == 2
        served.process.kill()
        _soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def test_what_keeps_every_worker_from_starting_ends_the_service(tmp_path: Path) -> None:
    """A setting that changed for the worse between the start and a worker's own."""
    upgrade(f"sqlite:///{tmp_path}/never.db")
    life, held = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "service.web.worker", str(listening.fileno()), str(life), "1", "2", str(tmp_path)],
            env=clean_environment() | {"CLOZAPINE_CDS_POLICY": "mars-2030"},
            pass_fds=(listening.fileno(), life), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    os.close(life)
    os.close(held)
    assert done.returncode == 3
    assert "mars-2030" in done.stderr
    assert "Traceback" not in done.stderr
