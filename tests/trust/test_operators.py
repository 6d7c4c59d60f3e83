"""Metrics, the reasons in health and policies of a site's own, behind a token (issue: one site costs itself only)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

_TOKEN = "the-operators-own-token"
_BEARER = {"Authorization": f"Bearer {_TOKEN}"}
_OWN = 'id = "ours"\ntitle = "Ours"\njurisdiction = "XX"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "As the US label."\n'


@pytest.fixture(scope="module")
def closed(start_service: Any, tmp_path_factory: pytest.TempPathFactory) -> httpx.Client:
    policy = Path(tmp_path_factory.mktemp("policy")) / "ours.toml"
    policy.write_text(_OWN)
    return start_service(policy=str(policy), ops_token_sha256=hashlib.sha256(_TOKEN.encode()).hexdigest())


@pytest.mark.parametrize("path", ["/metrics", "/health", "/policies/ours", "/policies/ours/patient"])
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {_TOKEN}"}, {"Authorization": ""}]
)  # fmt: skip
def test_without_the_token_nothing_is_told(closed: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = closed.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert closed.get(path, headers=_BEARER).status_code == 200


def test_a_policy_that_does_not_exist_looks_like_one_that_is_not_shown(closed: httpx.Client) -> None:
    assert closed.get("/policies/nobodys").status_code == 401
    assert closed.get("/policies/nobodys", headers=_BEARER).status_code == 404


def test_probes_need_no_token_and_tell_their_status_alone(closed: httpx.Client) -> None:
    assert set(closed.get("/health/live").json()) == {"status", "version"}
    ready = closed.get("/health/ready")
    assert (ready.status_code, set(ready.json())) == (200, {"status"})
    assert "checks" in closed.get("/health/ready", headers=_BEARER).json()


def test_what_is_for_everybody_stays_so(closed: httpx.Client) -> None:
    for path in ("/cds-services", "/policies", "/policies/us-label-2025", "/docs"):
        assert closed.get(path).status_code == 200


def test_without_the_setting_all_is_told(client: httpx.Client) -> None:
    for path in ("/metrics", "/health"):
        assert client.get(path).status_code == 200
