"""An EHR that keeps Subscriptions as HAPI FHIR does: activates them or not, and tells of what is filed."""

from __future__ import annotations

from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.registry.writable_ehr import WritableEhr

Json = dict[str, Any]


class SubscribingEhr(WritableEhr):
    """Faults on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.activates = True
        #: Status of the next answers to writes of Subscriptions.
        self.refusing: list[int] = []
        #: It is done, and the answer is lost.
        self.loses_answers = False
        self.made = 0
        self.app.router.routes[:0] = [
            Route("/fhir/Subscription", self.make, methods=["POST"]),
            Route("/fhir/Subscription/{id}", self.replace, methods=["PUT"]),
            Route("/fhir/Subscription/{id}", self.remove, methods=["DELETE"]),
        ]

    @property
    def subscriptions(self) -> list[Json]:
        """All that are there."""
        return self.resources.setdefault("Subscription", [])

    async def _no(self, request: Request) -> Response | None:
        refused = await self._writing_refused(request)
        if refused is None and self.refusing:
            return JSONResponse({}, self.refusing.pop(0))
        return refused

    def _took(self, content: Json) -> Json:
        return content | {
            "status": "active" if self.activates and content["status"] == "requested" else content["status"]
        }

    async def make(self, request: Request) -> Response:
        """No uniqueness: what is made twice is there twice."""
        if (refused := await self._no(request)) is not None:
            return refused
        self.made += 1
        made = self._took(await request.json()) | {"id": f"s{self.made}"}
        self.subscriptions.append(made)
        if self.loses_answers:
            return JSONResponse({}, 502)
        return JSONResponse(made, 201)

    async def replace(self, request: Request) -> Response:
        if (refused := await self._no(request)) is not None:
            return refused
        content = self._took(await request.json())
        self.resources["Subscription"] = [
            content if s["id"] == request.path_params["id"] else s for s in self.subscriptions
        ]
        return JSONResponse({}, 502) if self.loses_answers else JSONResponse(content)

    async def remove(self, request: Request) -> Response:
        if (refused := await self._no(request)) is not None:
            return refused
        self.resources["Subscription"] = [
            s for s in self.subscriptions if s["id"] != request.path_params["id"]
        ]
        return Response(status_code=204)

    def file(self, resource: Json, to: httpx.Client) -> list[int]:
        """File a resource and tell of it, as HAPI does; returns the answers' status."""
        self.add(resource)
        ref = f"{resource['resourceType']}/{resource['id']}"
        answers = []
        for s in self.subscriptions:
            if s["status"] != "active" or not s["criteria"].startswith(f"{resource['resourceType']}?"):
                continue
            headers = dict(line.split(": ", 1) for line in s["channel"]["header"])
            path = s["channel"]["endpoint"].partition("://")[2].partition("/")[2]
            if "payload" in s["channel"]:
                answer = to.put(f"/{path}/{ref}", json=resource, headers=headers)
            else:
                answer = to.post(f"/{path}", headers=headers)
            answers.append(answer.status_code)
        return answers
