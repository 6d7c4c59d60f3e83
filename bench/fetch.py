"""What fetching adds to a call: eleven searches from a FHIR server that takes 50 ms each, against the same call with prefetch."""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.data import NOW, order_sign

#: Aim: what eleven searches of 50 ms may add to a call, ms.
AIM = 120
DELAY_SECONDS = 0.05
_CALLS = 30


def ehr() -> Starlette:
    """A FHIR server that holds the bench patient and takes its time."""
    sent = orjson.loads(order_sign(20))["prefetch"]
    empty = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    by_type: dict[str, Any] = {
        "Patient": sent["patient"],
        "MedicationRequest": sent["medications"],
        "Observation": sent["counts"],
    }

    async def answer(request: Request) -> Response:
        await asyncio.sleep(DELAY_SECONDS)
        found = by_type.get(request.path_params["type"], empty)
        return Response(orjson.dumps(found), media_type="application/fhir+json")

    return Starlette(routes=[Route("/fhir/{type}", answer), Route("/fhir/{type}/{id}", answer)])


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("a server of the bench did not start")


def measure() -> dict[str, float]:
    """Median milliseconds of a call with everything in prefetch, and of one that fetches everything."""
    import httpx

    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        fhir_port, port = a.getsockname()[1], b.getsockname()[1]
    base = f"http://127.0.0.1:{fhir_port}/fhir"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.fetch", kind, str(own), base], stdout=subprocess.DEVNULL
        )
        for kind, own in (("ehr", fhir_port), ("service", port))
    ]
    try:
        _wait(fhir_port)
        _wait(port)
        full = orjson.loads(order_sign(20))
        bare = full | {
            "prefetch": {},
            "fhirServer": base,
            "fhirAuthorization": {"access_token": "bench", "token_type": "Bearer", "expires_in": 300, "scope": "user/*.read", "subject": "bench"},
        }  # fmt: skip
        medians = {}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            for name, body in (("prefetch", full), ("fetched", bare)):
                content, taken = orjson.dumps(body), []
                for _ in range(_CALLS):
                    started = time.perf_counter()
                    answer = client.post(
                        "/cds-services/clozapine-order-sign",
                        content=content,
                        headers={"Content-Type": "application/json"},
                    )
                    taken.append((time.perf_counter() - started) * 1000)
                    if answer.status_code != 200 or b"could not be read" in answer.content:
                        raise RuntimeError(f"the {name} call was not answered from complete data")
                medians[name] = statistics.median(taken)
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)
    return {
        "prefetch_ms": medians["prefetch"],
        "fetched_ms": medians["fetched"],
        "added_ms": medians["fetched"] - medians["prefetch"],
    }


def main() -> None:
    """``python -m bench.fetch ehr|service PORT FHIR-BASE``"""
    kind, port, base = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app: Any = ehr()
    if kind == "service":
        import tempfile

        from service.ops.logging import configure
        from service.site.settings import Settings
        from service.store.database import upgrade
        from service.web.app import create_app

        url = f"sqlite:///{tempfile.mkdtemp(prefix='clozapine-bench-')}/fetch.db"
        upgrade(url)
        configure("warning", "json")
        app = create_app(Settings(database_url=url, fhir_servers=(base,), sweep=""), clock=lambda: NOW)
    uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False)).run()


if __name__ == "__main__":
    main()
