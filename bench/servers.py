"""The two servers that are compared: this service, and the same stack doing nothing but parsing."""

from __future__ import annotations

import os
import sys
import tempfile

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from bench.data import NOW
from service.ops.logging import configure
from service.site.settings import Settings
from service.store.database import upgrade
from service.web.app import create_app
from service.web.serving import PROTOCOL

_CARD = {
    "cards": [
        {
            "uuid": "b3a1f6d2-0c4e-4b7a-9e58-1f2d3c4b5a60",
            "summary": "A constant card",
            "indicator": "info",
            "source": {"label": "Nobody"},
        }
    ]
}


def baseline() -> FastAPI:
    """FastAPI + uvicorn: the body parsed with orjson, a constant card back."""
    app = FastAPI()

    @app.post("/cds-services/clozapine-order-sign")
    async def answer(request: Request) -> Response:
        orjson.loads(await request.body())
        return Response(orjson.dumps(_CARD), media_type="application/json")

    return app


def service() -> FastAPI:
    """This service with everything on: recording, metrics, logging."""
    url = f"sqlite:///{tempfile.mkdtemp(prefix='clozapine-bench-')}/bench.db"
    upgrade(url)
    configure("info", "json")
    return create_app(Settings(database_url=url), clock=lambda: NOW)


def main() -> None:
    """``python -m bench.servers baseline|service PORT``"""
    kind, port = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})  # one core; the load comes from the other
    app = service() if kind == "service" else baseline()
    # The service with the limits that it is served with, the baseline with none.
    http = PROTOCOL if kind == "service" else "httptools"
    config = uvicorn.Config(app, port=port, loop="uvloop", http=http, log_level="warning", access_log=False)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
