"""HAPI's own client and validator against the service (``make test-hapi``)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.synthetic.chart import Chart
from tests.hapi.build import TARGET, needed
from tests.hapi.conftest import CHARTS
from tests.operation.test_clozapine_check import PATH

pytestmark = pytest.mark.hapi

Json = dict[str, Any]
_EXAMPLES = Path(__file__).parents[2] / "examples"
_DEFINITIONS = ("CodeSystem", "OperationDefinition", "StructureDefinition", "ValueSet")
#: The validator's messages about what a value set of its own leaves open: binding strengths below required.
_HARMLESS = ("INFORMATION",)


def _java(*arguments: str) -> str:
    java, _ = needed()
    classpath = os.pathsep.join((str(TARGET / "classes"), str(TARGET / "dependency" / "*")))
    done = subprocess.run(
        [java, "-XX:TieredStopAtLevel=1", "-Xmx2g", "-cp", classpath, "hapi.Client", *arguments],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _record(chart: Chart) -> Json:
    entries = [{"resource": resource} for resource in chart.resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _of_call(request: Json) -> Json:
    """The record of a hook call, with its orders in question."""
    values = [v for v in request.get("prefetch", {}).values() if isinstance(v, dict)]
    context = request["context"]
    values += [context[k] for k in ("draftOrders", "medications", "medication") if isinstance(context.get(k), dict)]  # fmt: skip
    found: list[Json] = []
    for value in values:
        listed = [e.get("resource") for e in value.get("entry", [])] if value.get("resourceType") == "Bundle" else [value]  # fmt: skip
        found += [r for r in listed if isinstance(r, dict) and r.get("resourceType") != "OperationOutcome"]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in found]}
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "bundle", "resource": bundle},
            {"name": "patient", "valueId": context["patientId"]},
            {"name": "event", "valueCode": request["hook"]},
        ],
    }


def test_hapi_s_client_calls_the_operation_at_every_level(start_service: Any, tmp_path: Path) -> None:
    client: httpx.Client = start_service()
    chart = next(c for c in CHARTS if c.story.expected("patient-view"))
    file = tmp_path / "record.json"
    file.write_text(json.dumps(_record(chart)))
    said = dict(
        line.split(" ", 1) for line in _java("ask", f"{client.base_url}/fhir", str(file)).splitlines()
    )
    assert set(said) == {"system", "type", "instance"}
    codes = {json.loads(issue)["code"]["coding"][0]["code"] for issue in said.values()}
    assert len(codes) == 1


def test_the_validator_finds_nothing_in_any_answer(start_service: Any, tmp_path: Path) -> None:
    client: httpx.Client = start_service()
    answers, definitions = tmp_path / "answers", tmp_path / "definitions"
    answers.mkdir()
    definitions.mkdir()
    asked = {f"chart-{c.story.id}": _record(c) for c in CHARTS}
    for file in sorted(_EXAMPLES.glob("*/request.json")):
        request = json.loads(file.read_text())
        if "hook" in request:
            asked[file.parent.name] = _of_call(request)
    for name, question in asked.items():
        got = client.post(PATH, json=question)
        assert got.status_code == 200, (name, got.text)
        (answers / f"{name}.json").write_text(got.text)
    for name in _DEFINITIONS:
        for entry in client.get(f"/fhir/{name}").json()["entry"]:
            (definitions / f"{name}-{entry['resource']['id']}.json").write_text(json.dumps(entry["resource"]))
    (answers / "metadata.json").write_text(client.get("/fhir/metadata").text)
    *messages, last = _java("validate", str(answers), str(definitions)).splitlines()
    assert last == f"validated {len(list(answers.iterdir())) + len(list(definitions.iterdir()))}"
    told = [m for m in messages if not m.startswith(_HARMLESS)]
    kinds = sorted({m.split("\t", 3)[3] for m in told})
    assert told == [], "\n".join(kinds)
