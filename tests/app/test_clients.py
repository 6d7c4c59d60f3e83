"""A client generated from the OpenAPI document: it calls every route, and loses nothing of an answer."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.data import PATIENT, anc, bundle, call, clozapine, on_clozapine, prefetch
from tests.operation.test_clozapine_check import WOMAN, parameters, record

_DOCUMENT = Path(__file__).parents[2] / "openapi" / "openapi.json"
_NAME = "generated_clozapine_client"
Json = dict[str, Any]
CHART = record(WOMAN, on_clozapine(), anc(0.4, 0.5), clozapine(300))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package that openapi-python-client makes of the document."""
    folder = tmp_path_factory.mktemp("client")
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--meta", "none"]
    settings = folder / "config.yml"
    settings.write_text("post_hooks: []\n")
    done = subprocess.run(
        [*command, "--path", str(_DOCUMENT), "--output-path", str(folder / _NAME), "--config", str(settings)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout, done.stdout
    sys.path.insert(0, str(folder))
    try:
        yield folder / _NAME
    finally:
        sys.path.remove(str(folder))
        shutil.rmtree(folder)


def _operations() -> dict[str, tuple[str, str, str]]:
    """Operation id -> (path, method, tag)."""
    document = json.loads(_DOCUMENT.read_text())
    return {
        operation["operationId"]: (path, method, operation["tags"][0])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _module(operation: str) -> ModuleType:
    tag = _operations()[operation][2].lower().replace(" ", "_")
    # As the generator writes it: search-CodeSystem is search_code_system.
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).replace("-", "_").lower()
    return importlib.import_module(f"{_NAME}.api.{tag}.{name}")


def _client(client: httpx.Client) -> Any:
    made = importlib.import_module(f"{_NAME}.client").Client(base_url=str(client.base_url))
    made.set_httpx_client(client)
    return made


def _model(name: str, content: Json) -> Any:
    return getattr(importlib.import_module(f"{_NAME}.models"), name).from_dict(content)


@pytest.mark.parametrize(
    "chart", [CHART, parameters(("bundle", {"resource": CHART}))], ids=("Bundle", "Parameters")
)
def test_a_critical_answer_comes_back_without_loss(
    client: httpx.Client, generated: Path, chart: Json
) -> None:
    name = "RecordBundle" if chart["resourceType"] == "Bundle" else "CheckParameters"
    body = _model(name, chart)
    assert body.to_dict() == chart
    made = _module("clozapine-check")
    detailed = made.sync_detailed(client=_client(client), body=body)
    assert detailed.status_code == 200
    assert _same(detailed.parsed.to_dict(), json.loads(detailed.content))
    first = detailed.parsed.entry[0].resource
    assert type(first).__name__ == "DetectedIssue"
    assert first.severity == "high"
    assert first.code.coding[0].code == "anc-severe-neutropenia"
    assert first.evidence[0].code[0].text.startswith("ANC 400/µL")
    assert [type(e.resource).__name__ for e in detailed.parsed.entry[-2:]] == ["Provenance", "AnswerOutcome"]


def test_cards_come_back_without_loss(client: httpx.Client, generated: Path) -> None:
    sent = call(
        "order-sign",
        prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4, 0.5))),
        clozapine(300),
    )
    body = _model("RequestOrderSign", sent)
    assert body.to_dict() == sent
    detailed = _module("clozapine-order-sign").sync_detailed(client=_client(client), body=body)
    assert _same(detailed.parsed.to_dict(), json.loads(detailed.content))
    assert detailed.parsed.cards[0].indicator == "critical"


def test_every_route_can_be_called(start_service: Any, generated: Path) -> None:
    client = start_service(enrol=True)
    chart = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4, 0.5)))
    client.post("/cds-services/clozapine-patient-view", json=call("patient-view", chart))
    client.app.state.recorder.flush(10)
    made = _client(client)
    called = set()
    given: dict[str, Any] = {
        "id": PATIENT,
        "alert": 1,
        "flag": 1,
        "site": "x",
        "key": "y",
        "type_": "Observation",
        "resource": "z",
    }
    bodies: dict[str, Json] = {
        "flag-patient": {"kind": "ben"},
        "merge-patients": {"into": "nobody"},
        "process-results": anc(0.4, 0.5),
        "notify": {},
        "notify-change": {},
        "close-alert": {"note": "seen"},
        "take-alert-in-hand": {"until": "2026-11-20T20:00:00Z", "reason": "called"},
    }
    # Last of all what takes the patient away: whom nobody knows any more cannot be merged.
    last = ("unenrol-patient", "enrol-patient", "forget-patient", "merge-patients")
    order = sorted(_operations(), key=lambda o: last.index(o) if o in last else -1)
    for operation in order:
        module = _module(operation)
        path = _operations()[operation][0]
        arguments = {name: value for name, value in given.items() if f"{{{name.rstrip('_')}}}" in path}
        if path.startswith("/policies/"):
            arguments["id"] = "us-label-2025"
        if path.startswith(("/fhir/CodeSystem/", "/fhir/ValueSet/")):
            arguments["id"] = "clozapine-finding"
        if path.startswith("/fhir/OperationDefinition/"):
            arguments["id"] = "clozapine-check"
        if path.startswith("/fhir/StructureDefinition/"):
            arguments["id"] = "clozapine-detected-issue"
        annotations = module.sync_detailed.__annotations__
        if "body" in annotations:
            content = bodies.get(operation)
            if operation.endswith("feedback"):
                content = {"feedback": [{"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:00:00Z"}]}  # fmt: skip
            elif content is None and operation.startswith("clozapine-check"):
                content = CHART
            elif content is None:
                hook = operation.removeprefix("clozapine-")
                content = call(hook, chart, clozapine(300))
            kind = annotations["body"]
            names = [kind.__name__] if isinstance(kind, type) else str(kind).replace("|", " ").split()
            (name, *_) = [n for n in names if n.rpartition(".")[2] not in ("Unset", "CheckParameters")]
            arguments["body"] = _model(name.rpartition(".")[2], content)
        answer = module.sync_detailed(client=made, **arguments)
        # Nobody gave this client the token of a Subscription.
        strangers = dict.fromkeys(("notify", "notify-change", "notify-deletion"), (401,))
        allowed = strangers | {"merge-patients": (200, 404), "close-alert": (200, 404, 409), "take-alert-in-hand": (200, 404, 409), "withdraw-flag": (200, 404)}  # fmt: skip
        assert answer.status_code in allowed.get(operation, (200, 204)), (operation, answer.content)
        kind_of = answer.headers.get("content-type", "")
        if answer.status_code == 200 and "json" in kind_of and hasattr(answer.parsed, "to_dict"):
            assert _same(answer.parsed.to_dict(), json.loads(answer.content)), operation
        called.add(operation)
    assert called == set(_operations())


def _same(one: Any, other: Any) -> bool:
    """Equal but for the spelling of a moment, of which a client makes a datetime."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str) and one != other:
        return one.replace("+00:00", "Z")[:19] == other[:19]
    return bool(one == other)
