"""The addresses of pages: entrance, policies and their sheets for patients, OpenAPI and its page."""

from __future__ import annotations

from importlib.resources import files

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.site.settings import Settings
from service.site.trust import Directory
from service.web import openapi, operations, pages
from service.web.browsers import docs_page
from service.web.operations import Operators


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _page(content: str) -> HTMLResponse:
    return HTMLResponse(content)


def add_pages(app: FastAPI, settings: Settings, directory: Directory) -> None:
    """Add the routes of the pages, of the policies they show, and of the OpenAPI file."""
    configured = settings.load_policy()
    document = orjson.dumps(openapi.document())
    operators = Operators(settings.ops_token_sha256)

    async def entrance(_: Request) -> Response:
        return _page(pages.entrance(configured, settings.base_url))

    async def policies(request: Request) -> Response:
        found = pages.policy_list()
        if _wants_page(request):
            return _page(pages.policies_page(found))
        return Response(orjson.dumps({"policies": found}), media_type="application/json")

    def asked_for(request: Request) -> Policy:
        policy_id = request.path_params["id"]
        # The cards of every site link to its policy, also to one of its own.
        if policy_id not in policy_ids() and not operators.lets_in(request):
            raise HTTPException(401, operations.NEEDED, operations.CHALLENGE)
        own = {p.id: p for p in (configured, *(site.policy for site in directory.sites))}
        if policy_id in own:
            return own[policy_id]
        if policy_id in policy_ids():
            return policy_by_id(policy_id)
        raise HTTPException(404, f"There is no such policy. Known: {', '.join(policy_ids())}.")

    async def policy(request: Request) -> Response:
        found = asked_for(request)
        if _wants_page(request):
            return _page(pages.policy_page(found))
        return Response(pages.policy_json(found), media_type="application/json")

    async def patient(request: Request) -> Response:
        found = asked_for(request)
        if _wants_page(request):
            return _page(pages.patient_page(found))
        return Response(pages.patient_json(found), media_type="application/json")

    async def openapi_document(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def docs(_: Request) -> Response:
        return _page(docs_page())

    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.router.routes += [
        Route("/", entrance),
        Route("/policies", policies),
        Route("/policies/{id}", policy),
        Route("/policies/{id}/patient", patient),
        Route("/openapi.json", openapi_document),
        Route("/docs", docs),
    ]
    app.mount("/static", assets)
