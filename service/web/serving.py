"""Running the service: what ``clozapine-cds serve`` prints and starts."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import uvicorn

from service.ops.logging import configure
from service.ops.siblings import Siblings
from service.site.settings import Settings
from service.web.app import create_app
from service.web.draining import DrainingServer

#: With its limits, for uvicorn.
PROTOCOL = "service.web.protocol:LimitedProtocol"
_EXAMPLE = Path("examples/01-start-without-anc/request.json")


def run(settings: Settings, listening: socket.socket, workers: int) -> int:
    """Serve until stopped; gives the exit status."""
    host, port = listening.getsockname()[:2]
    print(greeting(settings, host, port), flush=True)  # noqa: T201 - for the person who started it
    configure(settings.log_level, settings.log_style)
    if workers == 1:
        serve(settings, listening)
        return 0
    from service.web.workers import Workers

    os.environ.setdefault("CLOZAPINE_CDS_BASE_URL", settings.base_url)
    return Workers(listening, workers).run()


def serve(settings: Settings, listening: socket.socket, siblings: Siblings | None = None) -> None:
    """Serve in this process until it is told to stop."""
    app = create_app(settings, siblings=siblings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=PROTOCOL,
        ws="none",
        limit_concurrency=settings.max_connections,
        # Whoever takes longer has had its answer: a call is given up before.
        timeout_graceful_shutdown=math.ceil(settings.call_seconds) + 1,
    )
    DrainingServer(config, app.state.stopping, settings.drain_seconds).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """The socket to accept from, a free port for 0, held before anything is printed or started. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def greeting(settings: Settings, host: str, port: int) -> str:
    """What a newcomer needs to see."""
    base = f"http://{host}:{port}"
    lines = [
        f"clozapine-cds, policy {settings.policy}",
        f"  discovery  {base}/cds-services",
        f"  docs       {base}/docs",
        f"  health     {base}/health",
    ]
    if settings.auth == "off":
        lines.append("  open mode: no client authentication, loopback only")
    else:
        lines.append("  every call needs a client token; EHRs: clozapine-cds ehr list")
    if settings.auth == "off" and _EXAMPLE.is_file():
        lines.append("  a first card:")
        lines.append(
            f"  curl -s -H 'Content-Type: application/json' --data @{_EXAMPLE} {base}/cds-services/clozapine-order-sign"
        )
    return "\n".join(lines)
