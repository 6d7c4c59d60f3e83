"""An EHR with Bulk Data on loopback, which shows what the clinic tells it to, and a receiver of webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_DELETED = "deleted"


class Hospital:
    """Resources by reference, each with the moment of its last change."""

    def __init__(self) -> None:
        self.now = datetime(2026, 8, 1, tzinfo=UTC)
        self.away = False
        self.base_url = ""
        self.resources: dict[str, tuple[datetime, dict[str, Any]]] = {}
        self.gone: dict[str, datetime] = {}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.exports = {"whole": 0, "changes": 0}
        self._since = datetime.min.replace(tzinfo=UTC)
        self.app = Starlette(
            routes=[
                Route("/fhir/Patient/$export", self.export),
                Route("/export", self.manifest),
                Route("/export", self.clear, methods=["DELETE"]),
                Route("/files/{type}", self.file),
                Route("/webhook", self.webhook, methods=["POST"]),
                Route("/fhir/{type}", self.refuse),
                Route("/fhir/{type}/{id}", self.refuse),
            ]
        )

    def show(self, resource: dict[str, Any], *, gone: bool) -> None:
        """A change, an hour ago."""
        reference, at = f"{resource['resourceType']}/{resource['id']}", self.now - timedelta(hours=1)
        if gone:
            self.resources.pop(reference, None)
            self.gone[reference] = at
        else:
            self.resources[reference] = (at, resource)

    async def refuse(self, request: Request) -> Response:
        """Nothing is read one by one here."""
        return JSONResponse({}, 503 if self.away else 404)

    async def export(self, request: Request) -> Response:
        """Kick-off."""
        if self.away:
            return JSONResponse({}, 500)
        since = request.query_params.get("_since")
        self.exports["changes" if since else "whole"] += 1
        self._since = datetime.fromisoformat(since or "1900-01-01T00:00:00Z")
        return Response(status_code=202, headers={"Content-Location": f"{self.base_url}/export"})

    async def manifest(self, request: Request) -> Response:
        """Ready at once."""
        files = [
            {"type": t, "url": f"{self.base_url}/files/{t}"}
            for t in ("Patient", "MedicationRequest", "Observation")
        ]
        deleted = [{"type": "Bundle", "url": f"{self.base_url}/files/{_DELETED}"}]
        return JSONResponse({"requiresAccessToken": True, "output": files, "deleted": deleted, "error": []})

    async def clear(self, request: Request) -> Response:
        """Done with it."""
        return Response(status_code=202)

    async def file(self, request: Request) -> Response:
        """NDJSON of what changed."""
        kind = request.path_params["type"]
        if kind == _DELETED:
            entries = [
                {"request": {"method": "DELETE", "url": reference}}
                for reference, at in self.gone.items()
                if at >= self._since
            ]
            lines = [json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})]
        else:
            lines = [
                json.dumps(r)
                for at, r in self.resources.values()
                if r["resourceType"] == kind and at >= self._since
            ]
        return Response("\n".join(lines), media_type="application/fhir+ndjson")

    async def webhook(self, request: Request) -> Response:
        """An event is told."""
        key = request.headers.get("idempotency-key", "")
        self.told.append((key, json.loads(await request.body())))
        return Response(status_code=204)
