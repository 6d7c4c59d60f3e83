"""An EHR on loopback: FHIR searches, paging, tokens, public keys, slowness and faults on demand. It records what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.signing import Signer


class Ehr:
    """Resources by type; every request is kept with its Authorization header."""

    def __init__(self, token: str = "secret-token") -> None:
        self.token = token
        self.resources: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.delay_seconds = 0.0
        #: Longer for some types.
        self.delays: dict[str, float] = {}
        self.status = 200
        self.redirect_to = ""
        self.page_size = 100
        self.failing: set[str] = set()
        self.next_link = ""
        self.endless = False
        #: Sent as it is, in place of every answer: (body, headers).
        self.raw: tuple[bytes, dict[str, str]] | None = None
        #: The key server: its keys, and how it misbehaves.
        self.signer = Signer()
        self.keys_asked = 0
        self.keys_down = False
        self.keys_delay_seconds = 0.0
        self.keys_redirect = ""
        self.metadata_statement: dict[str, Any] | None = None
        self.keys_raw: tuple[bytes, dict[str, str]] | None = None
        self.base_url = ""
        self.app = Starlette(
            routes=[
                Route("/jwks", self.jwks),
                Route("/fhir/metadata", self.metadata),
                Route("/fhir/{type}", self.search),
                Route("/fhir/{type}/{id}", self.read),
            ]
        )

    def add(self, *resources: dict[str, Any]) -> None:
        """Put resources on file."""
        for resource in resources:
            self.resources.setdefault(resource["resourceType"], []).append(resource)

    async def jwks(self, _: Request) -> Response:
        """The public keys."""
        self.keys_asked += 1
        await asyncio.sleep(self.keys_delay_seconds)
        if self.keys_redirect:
            return RedirectResponse(self.keys_redirect)
        if self.keys_down:
            return Response(status_code=503)
        if self.keys_raw is not None:
            return Response(self.keys_raw[0], headers=self.keys_raw[1])
        return JSONResponse(self.signer.jwks())

    async def metadata(self, _: Request) -> Response:
        """A CapabilityStatement that offers what ``resources`` has."""
        if self.metadata_statement is not None:
            return JSONResponse(self.metadata_statement)
        parameters = [{"name": name, "type": "token"} for name in ("patient", "code")]
        offered = [{"type": t, "searchParam": parameters} for t in self.resources]
        statement = {
            "resourceType": "CapabilityStatement",
            "fhirVersion": "4.0.1",
            "rest": [{"resource": offered}],
        }
        return JSONResponse(statement)

    def settings(self, name: str, **more: Any) -> dict[str, Any]:
        """The ``[[ehr]]`` table of this EHR."""
        return {
            "name": name,
            "issuer": f"https://{name}.example",
            "jwks_uri": f"{self.base_url}/jwks",
            "fhir_servers": [f"{self.base_url}/fhir"],
        } | more

    async def _refused(self, request: Request) -> Response | None:
        self.asked.append(str(request.url.path) + ("?" + str(request.url.query) if request.url.query else ""))
        self.authorizations.append(request.headers.get("authorization"))
        await asyncio.sleep(self.delays.get(request.path_params["type"], self.delay_seconds))
        if self.raw is not None:
            return Response(self.raw[0], headers=self.raw[1])
        if self.redirect_to:
            return RedirectResponse(self.redirect_to)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse(
                {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login"}]}, 401
            )
        if self.status != 200 or request.path_params["type"] in self.failing:
            return JSONResponse(
                {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]},
                500,
            )
        return None

    async def search(self, request: Request) -> Response:
        """Token search on code, newest first, paged."""
        refused = await self._refused(request)
        if refused is not None:
            return refused
        wanted = {c.split("|")[-1] for c in request.query_params.get("code", "").split(",") if c}
        found = [
            r
            for r in self.resources.get(request.path_params["type"], [])
            if not wanted or any(c.get("code") in wanted for c in r["code"]["coding"])
        ]
        found.sort(key=lambda r: r.get("effectiveDateTime", ""), reverse=True)
        offset = int(request.query_params.get("_offset", "0"))
        page = found[offset : offset + self.page_size]
        bundle: dict[str, Any] = {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [{"resource": r} for r in page],
        }
        if self.endless:
            page_number = int(request.query_params.get("page", "0")) + 1
            url = f"{self.base_url}/fhir/{request.path_params['type']}?page={page_number}"
            bundle["link"] = [{"relation": "next", "url": url}]
        elif self.next_link:
            bundle["link"] = [{"relation": "next", "url": self.next_link}]
        elif offset + self.page_size < len(found):
            query = f"{request.url.remove_query_params('_offset').query}&_offset={offset + self.page_size}"
            bundle["link"] = [
                {"relation": "next", "url": f"{self.base_url}/fhir/{request.path_params['type']}?{query}"}
            ]
        return JSONResponse(bundle, media_type="application/fhir+json")

    async def read(self, request: Request) -> Response:
        """Read by id."""
        refused = await self._refused(request)
        if refused is not None:
            return refused
        for resource in self.resources.get(request.path_params["type"], []):
            if resource["id"] == request.path_params["id"]:
                return JSONResponse(resource)
        return JSONResponse(
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}, 404
        )
