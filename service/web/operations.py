"""Routes for operators: health and metrics, to everybody or to those with a token (``ops_token_sha256``)."""

from __future__ import annotations

import hashlib
import hmac

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_hooks import operation_outcome
from service.ops.health import Health
from service.ops.metrics import Metrics
from service.ops.siblings import Siblings

NEEDED = "This needs the operators' bearer token."
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_HEALTH = "application/health+json"
_KEEP_NOT = {"Cache-Control": "no-store"}


class Operators:
    """Who may see how the service is doing.

    Args:
        token_sha256: of their token, hexadecimal; empty lets everybody in.
    """

    def __init__(self, token_sha256: str) -> None:
        self._token_sha256 = token_sha256

    def lets_in(self, request: Request) -> bool:
        """Whether a request bears the token, or none is needed."""
        if not self._token_sha256:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        return hmac.compare_digest(digest, self._token_sha256) and scheme.lower() == "bearer"


def routes(
    health: Health, metrics: Metrics, siblings: Siblings | None, operators: Operators
) -> list[BaseRoute]:
    """``/health/live``, ``/health/ready``, ``/health`` and ``/metrics``.

    Orchestrators cannot always send a token: both probes are answered without one, by their status alone.
    """

    async def live(_: Request) -> Response:
        body = orjson.dumps({"status": "pass", "version": health.version})
        return Response(body, media_type=_HEALTH, headers=_KEEP_NOT)

    async def ready(request: Request) -> Response:
        status, document = await health.report()
        shown = document if operators.lets_in(request) else {"status": status}
        return Response(
            orjson.dumps(shown),
            status_code=503 if status == "fail" else 200,
            media_type=_HEALTH,
            headers=_KEEP_NOT,
        )

    async def report(request: Request) -> Response:
        return await ready(request) if operators.lets_in(request) else _refused()

    async def exposition(request: Request) -> Response:
        if not operators.lets_in(request):
            return _refused()
        body, content_type = metrics.exposition(request.headers.get("accept", ""), siblings)
        return Response(body, headers={"Content-Type": content_type} | _KEEP_NOT)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health", report),
        Route("/metrics", exposition),
    ]


def _refused() -> Response:
    return Response(
        operation_outcome(NEEDED, code="login"),
        status_code=401,
        media_type="application/json",
        headers=CHALLENGE | _KEEP_NOT,
    )
