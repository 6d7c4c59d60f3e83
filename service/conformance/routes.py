"""The routes below ``/fhir``: the operation at its three levels, what describes it, and a sentence for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import orjson
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_hooks import ProtocolError
from service.conformance.capability import SERVED, capability_statement
from service.conformance.operation_definition import operation_definition
from service.conformance.profiles import structure_definitions
from service.conformance.published import Published
from service.conformance.terminology import code_systems, value_sets
from service.operation.content import MEDIA_TYPE, check_accept, header, preferences
from service.operation.endpoint import NAME, PATH
from service.options.options import Links

TYPE_PATH = f"/fhir/Patient/${NAME}"
INSTANCE_PATH = f"/fhir/Patient/{{id}}/${NAME}"
#: Shorter answers do not become shorter.
_WORTH_PACKING = 1000
_NO_PLACE = f"There is nothing at this address. This FHIR server answers POST {PATH} and GET /fhir/metadata; it stores no patient's resources."
_NO_TRANSACTION = f"This server carries out no batch and no transaction. Post the patient's record to {PATH}, as a Bundle of type collection."
_NO_HISTORY = "This server keeps no history of resources."


class Packed:
    """An endpoint whose longer answers are sent as gzip to those who take it, and that says which preferences it followed."""

    def __init__(self, endpoint: ASGIApp) -> None:
        self._plain = endpoint
        self._packing = GZipMiddleware(endpoint, minimum_size=_WORTH_PACKING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        applied = ", ".join(preferences(scope).applied)

        async def sending(message: Message) -> None:
            if applied and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"preference-applied", applied.encode())]
            await send(message)

        await (self._packing if _takes_gzip(scope) else self._plain)(scope, receive, sending)


def _takes_gzip(scope: Scope) -> bool:
    for part in header(scope, b"accept-encoding").lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() in ("gzip", "*"):
            quality = parameters.replace(" ", "").removeprefix("q=")
            return quality.strip("0.") != "" or not quality
    return False


def fhir_routes(check: ASGIApp, links: Links, today: date) -> list[BaseRoute]:
    """The routes, in the order in which they are tried.

    Args:
        check: the operation.
        links: the addresses of the service.
        today: since when it is as it describes itself.
    """
    published = Published(links, today)
    packed = Packed(check)
    capability = _json(capability_statement(published))
    served: dict[str, list[dict[str, Any]]] = {
        "CodeSystem": code_systems(published),
        "OperationDefinition": [operation_definition(published)],
        "StructureDefinition": structure_definitions(published),
        "ValueSet": value_sets(published),
    }

    async def metadata(_: Request) -> Response:
        return _answer(capability)

    def reading(type_name: str) -> Callable[[Request], Any]:
        by_id = {resource["id"]: _json(resource) for resource in served[type_name]}

        async def read(request: Request) -> Response:
            body = by_id.get(request.path_params["id"])
            if body is None:
                raise ProtocolError(404, f"There is no such {type_name} here.", code="not-found")
            return _answer(body)

        return read

    def searching(type_name: str) -> Callable[[Request], Any]:
        async def search(request: Request) -> Response:
            asked = request.query_params
            found = [
                r
                for r in served[type_name]
                if asked.get("url", r["url"]) == r["url"] and asked.get("_id", r["id"]) == r["id"]
            ]
            return _answer(_json(_searchset(published, type_name, found)))

        return search

    async def nothing(request: Request) -> Response:
        path = request.url.path.rstrip("/")
        if request.method == "POST" and path == "/fhir":
            raise ProtocolError(400, _NO_TRANSACTION, code="not-supported")
        if "_history" in path.split("/"):
            raise ProtocolError(400, _NO_HISTORY, code="not-supported")
        raise ProtocolError(404, _NO_PLACE, code="not-found")

    routes: list[BaseRoute] = [
        Route(PATH, endpoint=packed),
        Route(TYPE_PATH, endpoint=packed),
        Route(INSTANCE_PATH, endpoint=packed),
        _get("/fhir/metadata", metadata),
    ]
    for type_name in SERVED:
        routes += [
            _get(f"/fhir/{type_name}", searching(type_name)),
            _get(f"/fhir/{type_name}/{{id}}", reading(type_name)),
        ]
    told = Packed(_Told(nothing, ()))
    return [*routes, Route("/fhir", endpoint=told), Route("/fhir/{rest:path}", endpoint=told)]


class _Told:
    """An endpoint that says in FHIR's own way what is wrong."""

    def __init__(self, handler: Callable[[Request], Any], methods: Sequence[str]) -> None:
        self._handler = handler
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._methods and scope["method"] not in self._methods:
                allowed = ", ".join(self._methods)
                raise ProtocolError(
                    405, f"Use {allowed} on this address.", code="not-supported", headers={"Allow": allowed}
                )
            check_accept(scope)
            response = await self._handler(Request(scope, receive))
        except ProtocolError as error:
            response = Response(error.outcome(), error.status, headers=error.headers, media_type=MEDIA_TYPE)
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response(scope, receive, send)


def _get(path: str, handler: Callable[[Request], Any]) -> Route:
    return Route(path, endpoint=Packed(_Told(handler, ("GET", "HEAD"))))


def _json(resource: dict[str, Any]) -> bytes:
    return orjson.dumps(resource)


def _answer(body: bytes) -> Response:
    return Response(body, media_type=MEDIA_TYPE)


def _searchset(published: Published, type_name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{published.links.fhir_url}/{type_name}"}],
        "entry": [
            {"fullUrl": published.url(type_name, r["id"]), "resource": r, "search": {"mode": "match"}}
            for r in found
        ],
    }
