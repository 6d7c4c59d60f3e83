"""Running the service: what ``clozapine-cds serve`` prints and starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from service.ops.logging import configure
from service.site.load import load_settings
from service.site.settings import Settings
from service.web.app import create_app

#: With its limits, for uvicorn.
PROTOCOL = "service.web.protocol:LimitedProtocol"
_EXAMPLE = Path("examples/01-start-without-anc/request.json")


def application() -> FastAPI:
    """The application from the environment: what worker processes start."""
    os.umask(0o077)
    settings = load_settings()
    configure(settings.log_level, settings.log_style)
    return create_app(settings)


def run(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until stopped."""
    print(greeting(settings, host, port), flush=True)  # noqa: T201 - for the person who started it
    options = {
        "host": host,
        "port": port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "http": PROTOCOL,
        "ws": "none",
        "limit_concurrency": settings.max_connections,
    }
    if workers > 1:
        os.environ.setdefault("CLOZAPINE_CDS_BASE_URL", settings.base_url)
        uvicorn.run("service.web.serving:application", factory=True, workers=workers, **options)  # type: ignore[arg-type]
        return
    configure(settings.log_level, settings.log_style)
    uvicorn.run(create_app(settings), **options)  # type: ignore[arg-type]


def free_port(host: str, port: int) -> int:
    """The port to listen on, a free one for 0, known before anything is printed or started. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as held:
        return int(held.getsockname()[1])


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
