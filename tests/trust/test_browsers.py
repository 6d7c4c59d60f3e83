"""Pages of other sites reach nothing of an open service; the service's own pages run nothing that it did not write."""

from __future__ import annotations

import re

import httpx
import pytest

_CLOSE = "/alerts/1/close"
_NOTE = b'{"note": "x"}'


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:8000", 200), ("evil.example", 421), ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421), ("localhost@evil.example", 421), ("[", 421), ("", 421),
    ],
)  # fmt: skip
def test_a_name_that_is_not_this_machines_is_not_answered(
    client: httpx.Client, host: str, status: int
) -> None:
    for path in ("/registry/patients", "/alerts", "/cds-services", "/metrics", "/"):
        assert client.get(path, headers={"Host": host}).status_code == status, path


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://["])
def test_a_page_of_another_site_reaches_no_registry(client: httpx.Client, origin: str) -> None:
    json = {"Origin": origin, "Content-Type": "application/json"}
    assert client.post(_CLOSE, content=_NOTE, headers=json).status_code == 403
    assert client.post("/registry/patients/p1/unenrol", headers={"Origin": origin}).status_code == 403
    assert client.get("/registry/patients", headers={"Origin": origin}).status_code == 403


def test_its_own_pages_and_those_of_named_origins_do(start_service: object, client: httpx.Client) -> None:
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert client.get("/registry/patients", headers=own).status_code == 200
    named = start_service(allowed_origins=("https://ward.example",))  # type: ignore[operator]
    assert named.get("/registry/patients", headers={"Origin": "https://ward.example"}).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None]
)
def test_a_body_that_no_preflight_asks_about_is_refused(client: httpx.Client, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert client.post(_CLOSE, content=_NOTE, headers=headers).status_code == 415
    json = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post(_CLOSE, content=_NOTE, headers=json).status_code == 404  # there is no such alert


def test_pages_run_only_what_the_service_wrote(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/policies/us-label-2025", "/policies/us-label-2025/patient"):
        answer = client.get(path, headers={"Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert not re.search(r"\s(style|on[a-z]+)=\"", answer.text), "no hash would let it through"
        inline = len(re.findall(r"<(?:style|script)>", answer.text))
        assert inline == 1
        assert policy.count("'sha256-") == 3
