"""What keeps a browser on this machine, or on a page of this service, from being used by somebody else's page."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.types import Scope

from cds_hooks import operation_outcome

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Paths whose callers in browsers are let in by ``allowed_origins``: they answer CORS themselves.
_HOOKS = ("/cds-services", "/fhir/")
#: What is sent there changes the registry.
_KEPT = ("/fhir/$process-results",)
#: No form and no script can send these without asking first (Fetch, "CORS-safelisted request-header").
_ASKED_ABOUT = frozenset({"application/json", "application/fhir+json"})


@cache
def docs_page() -> str:
    """The page at ``/docs``."""
    answer = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Clozapine safety service: API",
        swagger_js_url="/static/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    return bytes(answer.body).decode()


@cache
def content_security_policy() -> str:
    """Only what this service wrote itself runs: what stands in its pages is named by its hash (CSP 3, section 2.3.1)."""
    templates = files("service").joinpath("templates")
    own = [templates.joinpath(name).read_text(encoding="utf-8") for name in ("base.html", "patient.html")]
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for page in (*own, docs_page()):
        for kind, content in _INLINE.findall(page):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            hashes[kind].append(f"'sha256-{digest}'")
    styles, scripts = (" ".join(["'self'", *hashes[kind]]) for kind in ("style", "script"))
    return (
        f"default-src 'self'; img-src 'self' data:; style-src {styles}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _host(authority: str) -> str:
    """The host of a Host header, without its port; empty for what is none."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


class OpenDoor:
    """Who is let in while authentication is off: this machine by its own names, and no page of another site.

    A name that an attacker's name server points here (DNS rebinding) is in ``Host``; a page that posts a form, or text that no
    preflight asks about, is in ``Origin`` or has no JSON.

    Args:
        base_url: the service's public address; its host is one of its names.
        origins: ``allowed_origins`` where they are named; ``*`` is for hook calls alone.
    """

    def __init__(self, base_url: str, origins: tuple[str, ...]) -> None:
        self._names = _LOOPBACK | {_host(urlsplit(base_url).netloc)} - {""}
        self._origins = frozenset(origins) - {"*"}

    def refusal(self, scope: Scope) -> tuple[int, bytes] | None:
        """Status and body for what is not let in; None for all else."""
        given: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, []).append(value.decode("latin-1"))
        host = given.get(b"host", [""])
        if len(host) != 1 or _host(host[0]) not in self._names:
            return 421, operation_outcome(
                "Without authentication this service answers to names of this machine alone (Host).",
                code="security",
            )
        if scope["path"].startswith(_HOOKS) and not scope["path"].startswith(_KEPT):
            return None
        for origin in given.get(b"origin", []):
            if origin not in self._origins and origin.partition("://")[2].lower() != host[0].lower():
                return 403, operation_outcome(
                    "Pages of other sites may not use this address (Origin); see allowed_origins.",
                    code="security",
                )
        types = given.get(b"content-type", [])
        empty = given.get(b"content-length", ["0"]) == ["0"] and b"transfer-encoding" not in given
        if scope["method"] in _WRITING and (types or not empty):
            kinds = {kind.partition(";")[0].strip().lower() for kind in types}
            if not kinds or not kinds <= _ASKED_ABOUT:
                return 415, operation_outcome("Send the body as application/json.", code="not-supported")
        return None
