"""Discovery (checklist D1–D10)."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import httpx

_VERSIONS = {
    "order-sign": "1.0", "order-select": "1.0", "patient-view": "1.0", "encounter-start": "1.0", "encounter-discharge": "1.0",
    "medication-verify": "0.1.0", "medication-refill": "0.1.0",
}  # fmt: skip
_KEYS = {
    "patient",
    "medications",
    "statements",
    "dispenses",
    "administrations",
    "counts",
    "labs",
    "vitals",
    "conditions",
    "allergies",
    "smoking",
}


def _services(client: httpx.Client) -> list[dict[str, object]]:
    response = client.get("/cds-services")
    assert response.status_code == 200
    return response.json()["services"]


def test_D1_services_is_an_array(client: httpx.Client) -> None:
    assert isinstance(_services(client), list)
    assert len(_services(client)) == 7


def test_D2_every_service_has_hook_id_description_title(client: httpx.Client) -> None:
    for service in _services(client):
        assert all(
            isinstance(service[name], str) and service[name]
            for name in ("hook", "id", "description", "title")
        )


def test_D3_version_is_the_specification_s(client: httpx.Client) -> None:
    assert {s["version"] for s in _services(client)} == {"3.0.0"}


def test_D4_hook_version_is_the_hook_s_own(client: httpx.Client) -> None:
    assert {str(s["hook"]): s["hookVersion"] for s in _services(client)} == _VERSIONS


def test_D5_usage_requirements_say_what_is_needed(client: httpx.Client) -> None:
    assert all("blood counts" in str(s["usageRequirements"]) for s in _services(client))


def test_D6_prefetch_has_the_keys_of_the_contract(client: httpx.Client) -> None:
    for service in _services(client):
        prefetch = service["prefetch"]
        assert isinstance(prefetch, dict)
        assert set(prefetch) == _KEYS
        assert all(isinstance(q, str) and q for q in prefetch.values())


def _queries(client: httpx.Client) -> list[str]:
    return [q for s in _services(client) for q in s["prefetch"].values()]  # type: ignore[attr-defined]


def test_D7_templates_use_the_supported_subset(client: httpx.Client) -> None:
    for query in _queries(client):
        path, _, parameters = query.partition("?")
        assert re.fullmatch(
            r"[A-Z][A-Za-z]+" if parameters else r"[A-Z][A-Za-z]+/\{\{context\.patientId\}\}", path
        )
        names = [name for name, _ in parse_qsl(parameters)]
        assert len(names) == len(set(names))
        assert all("." not in name and (":" not in name or name.endswith(":in")) for name in names)
        assert {n for n in names if n.startswith("_")} <= {"_count", "_maxresults", "_sort"}


def test_D8_tokens_are_simple(client: httpx.Client) -> None:
    tokens = {t for q in _queries(client) for t in re.findall(r"\{\{(.*?)\}\}", q)}
    assert tokens <= {
        "context.patientId", "context.userId", "context.encounterId",
        "userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId",
    }  # fmt: skip


def test_D9_browser_clients_pass_preflight_and_call(client: httpx.Client) -> None:
    origin = {"Origin": "https://sandbox.example"}
    for path in (
        "/cds-services",
        "/cds-services/clozapine-order-sign",
        "/cds-services/clozapine-order-sign/feedback",
    ):
        preflight = client.options(
            path,
            headers=origin
            | {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert preflight.status_code in (200, 204)
        assert preflight.headers["access-control-allow-origin"] in ("*", origin["Origin"])
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert "authorization" in allowed
        assert "content-type" in allowed
    assert client.get("/cds-services", headers=origin).headers["access-control-allow-origin"] == "*"


def test_D9_origins_are_configurable(start_service) -> None:  # type: ignore[no-untyped-def]
    narrow = start_service(allowed_origins=("https://good.example",))
    good = narrow.get("/cds-services", headers={"Origin": "https://good.example"})
    bad = narrow.get("/cds-services", headers={"Origin": "https://bad.example"})
    assert good.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in bad.headers


def test_D10_one_id_per_hook(client: httpx.Client) -> None:
    services = _services(client)
    assert len({s["id"] for s in services}) == len({s["hook"] for s in services}) == len(services)
    assert all(s["id"] == f"clozapine-{s['hook']}" for s in services)
