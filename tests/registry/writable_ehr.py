"""An EHR that can be written to: conditional create, update, and a token server that checks private_key_jwt."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.ehr import Ehr


class WritableEhr(Ehr):
    """What was written, in order; faults on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.tokens_given = 0
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.refusals = 0
        #: Writing is allowed, reading is not.
        self.unreadable = False
        self.hooks: list[tuple[dict[str, str], bytes]] = []
        self.bulk = False
        self.exports: list[str] = []
        self.looks = 0
        #: Answers (status) of the export's first looks; what its manifest says besides; files as they are, by name.
        self.first_looks = [202]
        self.manifest: dict[str, Any] = {"requiresAccessToken": True}
        self.files: dict[str, list[dict[str, Any]]] = {}
        self.app.router.routes[:0] = [
            Route("/fhir/Patient/$export", self.export, methods=["GET"]),
            Route("/exports/state", self.export_state, methods=["GET"]),
            Route("/exports/{type}", self.export_file, methods=["GET"]),
            Route("/token", self.token_request, methods=["POST"]),
            Route("/webhook", self.webhook, methods=["POST"]),
            Route("/fhir/{type}", self.create, methods=["POST"]),
            Route("/fhir/{type}", self.update_by_identifier, methods=["PUT"]),
            Route("/fhir/{type}/{id}", self.update, methods=["PUT"]),
        ]

    @property
    def pem(self) -> bytes:
        """The client's private key."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def token_request(self, request: Request) -> Response:
        """SMART Backend Services, section "Obtain access token"."""
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        try:
            claims = jwt.decode(
                form["client_assertion"],
                self.key.public_key(),
                algorithms=["ES384"],
                audience=f"{self.base_url}/token",
                options={
                    "require": ["iss", "sub", "aud", "exp", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            return JSONResponse({"error": "invalid_client", "error_description": str(error)}, 401)
        assert claims["iss"] == claims["sub"] == "clozapine-cds"
        assert form["grant_type"] == "client_credentials"
        self.tokens_given += 1
        return JSONResponse({"access_token": self.token, "token_type": "bearer", "expires_in": 300})

    async def export(self, request: Request) -> Response:
        """Bulk Data: kick-off."""
        if not self.bulk:
            return JSONResponse({}, 404)
        if (
            request.headers.get("authorization") != f"Bearer {self.token}"
            or request.headers["prefer"] != "respond-async"
        ):
            return JSONResponse({}, 401)
        self.exports.append(request.query_params.get("_since", ""))
        self.looks = 0
        return Response(status_code=202, headers={"Content-Location": f"{self.base_url}/exports/state"})

    async def export_state(self, request: Request) -> Response:
        """Bulk Data: not ready at the first look."""
        self.looks += 1
        if self.looks <= len(self.first_looks):
            return Response(status_code=self.first_looks[self.looks - 1], headers={"Retry-After": "0"})
        output = [{"type": kind, "url": f"{self.base_url}/exports/{kind}"} for kind in self.resources]
        return JSONResponse({"output": output} | self.manifest)

    async def export_file(self, request: Request) -> Response:
        """Bulk Data: NDJSON."""
        wanted = f"Bearer {self.token}" if self.manifest["requiresAccessToken"] else None
        if request.headers.get("authorization") != wanted:
            return JSONResponse({}, 401)
        name = request.path_params["type"]
        lines = [json.dumps(r) for r in self.files.get(name) or self.resources[name]]
        return Response("\n".join([*lines, "{broken"]), media_type="application/fhir+ndjson")

    async def webhook(self, request: Request) -> Response:
        """Somebody who wants to be told."""
        self.hooks.append((dict(request.headers), await request.body()))
        return Response(status_code=204)

    async def _refused(self, request: Request) -> Response | None:
        return JSONResponse({}, 403) if self.unreadable else await super()._refused(request)

    async def _writing_refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({}, 401)
        if self.refusals > 0:
            self.refusals -= 1
            return JSONResponse({}, 503)
        return None

    async def create(self, request: Request) -> Response:
        """Conditional create: what is there already is not made again."""
        refused = await self._writing_refused(request)
        if refused is not None:
            return refused
        kind = request.path_params["type"]
        resource = await request.json()
        system, _, value = request.headers["if-none-exist"].removeprefix("identifier=").partition("|")
        for known in self.resources.get(kind, []):
            if {"system": system, "value": value} in known["identifier"]:
                return JSONResponse(known, 200)
        made = resource | {"id": str(len(self.written) + 1)}
        self.add(made)
        self.written.append(("POST", made))
        location = f"{self.base_url}/fhir/{kind}/{made['id']}/_history/1"
        return JSONResponse(made, 201, headers={"Location": location})

    async def update_by_identifier(self, request: Request) -> Response:
        """Conditional update: the server finds the resource, or makes it."""
        refused = await self._writing_refused(request)
        if refused is not None:
            return refused
        kind, resource = request.path_params["type"], await request.json()
        system, _, value = request.query_params["identifier"].partition("|")
        for known in self.resources.get(kind, []):
            if {"system": system, "value": value} in known.get("identifier", []):
                known.clear()
                known.update(resource)
                break
        else:
            self.add(resource)
        self.written.append(("PUT by identifier", resource))
        return JSONResponse(resource)

    async def update(self, request: Request) -> Response:
        """Replace a resource."""
        refused = await self._writing_refused(request)
        if refused is not None:
            return refused
        kind, resource = request.path_params["type"], await request.json()
        kept = [r for r in self.resources.get(kind, []) if r["id"] != request.path_params["id"]]
        self.resources[kind] = [*kept, resource]
        self.written.append(("PUT", resource))
        return JSONResponse(resource)
