"""The invented clinic: the same for the same seed, sound FHIR, and what each story says of itself is what the service finds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class
from typer.testing import CliRunner

from service.cli.main import app
from service.judge import judge
from service.synthetic.chart import Chart
from service.synthetic.clinic import HOOKS, clinic, hook_call, transaction
from service.synthetic.stories import stories
from tests.backtest.export import alerts, run

AS_OF = datetime(2026, 11, 21, 10, tzinfo=UTC)
_OPTIONS = ["synthesize", "--patients", "30", "--as-of", "2026-11-21"]


def _charts(seed: int, as_of: datetime = AS_OF) -> list[Chart]:
    return list(clinic(30, seed=seed, as_of=as_of))


def _bytes(seed: int) -> bytes:
    return b"\n".join(
        orjson.dumps([transaction(c), *(hook_call(c, hook) for hook in HOOKS)]) for c in _charts(seed)
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_clinic() -> None:
    assert _bytes(1) == _bytes(1)
    ours, theirs = _charts(1), _charts(2)
    assert [c.story.id for c in ours] == [c.story.id for c in theirs]
    assert all(a.resources[0] != b.resources[0] for a, b in zip(ours, theirs, strict=True))


def test_thirty_patients_are_thirty_stories() -> None:
    told = [c.story.id for c in _charts(1)]
    assert len(told) == len(set(told)) == 30 == len(stories())


def test_a_larger_clinic_begins_with_the_same_patients() -> None:
    larger = list(clinic(65, seed=1, as_of=AS_OF))
    assert [transaction(c) for c in larger[:30]] == [transaction(c) for c in _charts(1)]
    assert larger[30].story == larger[0].story
    assert larger[30].resources[0]["birthDate"] != larger[0].resources[0]["birthDate"]
    assert len({c.patient_id for c in larger}) == 65


@pytest.mark.parametrize("seed", [1, 2])
def test_every_resource_is_valid_and_refers_only_to_what_is_there(seed: int) -> None:
    for chart in _charts(seed):
        known = {f"{r['resourceType']}/{r['id']}" for r in chart.resources}
        assert len(known) == len(chart.resources)
        for resource in (*chart.resources, chart.draft, transaction(chart)):
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
            assert set(_references(resource)) <= known


def _references(content: Any) -> list[str]:
    if isinstance(content, list):
        return [found for item in content for found in _references(item)]
    if not isinstance(content, dict):
        return []
    own = [content["reference"]] if "reference" in content else []
    return own + [found for item in content.values() for found in _references(item)]


def test_no_result_lies_after_the_moment_of_the_question() -> None:
    for chart in _charts(3):
        times = [r["effectiveDateTime"] for r in chart.resources if "effectiveDateTime" in r]
        assert all(datetime.fromisoformat(t) <= AS_OF for t in times)


@pytest.mark.parametrize("moment", [AS_OF, datetime(2027, 3, 1, 0, 40, tzinfo=UTC)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_service_finds_what_each_story_says(seed: int, moment: datetime) -> None:
    """Whatever the EHR's habits: seeds differ in codes, units, panels, references and the way doses are written."""
    wrong = []
    for chart in _charts(seed, moment):
        for hook in HOOKS:
            findings = judge(hook_call(chart, hook), as_of=moment).findings
            found = sorted(f"{f.code} {f.severity}" for f in findings)
            if found != chart.story.expected(hook):
                wrong.append((chart.story.id, hook, found, chart.story.expected(hook)))
    assert wrong == []


def test_the_habits_of_ehrs_really_differ() -> None:
    charts = [c for seed in (1, 2, 3) for c in _charts(seed)]
    resources = [r for c in charts for r in c.resources]
    units = {
        r["valueQuantity"].get("unit")
        for r in resources
        if "751-8" in str(r.get("code")) and "valueQuantity" in r
    }
    assert len(units) >= 4
    for element in (
        "component",
        "hasMember",
        "valueString",
        "medicationReference",
        "medicationCodeableConcept",
    ):
        assert any(element in r for r in resources), element
    doses = [str(r["dosageInstruction"]) for r in resources if r["resourceType"] == "MedicationRequest"]
    assert any("'mg'" in d for d in doses)
    assert any("{tbl}" in d for d in doses)
    assert any("doseAndRate" not in d for d in doses)


def test_the_command_writes_a_clinic_that_check_and_backtest_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*_OPTIONS, "--out", str(tmp_path / "clinic")])
    assert result.exit_code == 0, result.output
    listed = orjson.loads((tmp_path / "clinic" / "clinic.json").read_bytes())
    severe = next(p for p in listed["patients"] if p["story"] == "severe-neutropenia")
    assert severe["expect"]["order-sign"] == ["anc-severe-neutropenia critical"]
    call = tmp_path / "clinic" / "calls" / f"{severe['id']}-order-sign.json"
    checked = CliRunner().invoke(app, ["check", str(call), "--as-of", listed["asOf"], "--json"])
    assert checked.exit_code == 2
    assert "anc-severe-neutropenia" in checked.output
    found = alerts(run(tmp_path / "clinic" / "export"))
    assert sum(found.values()) > 0


def test_standard_output_gets_one_transaction_per_line_the_same_every_time() -> None:
    first, second = (CliRunner().invoke(app, _OPTIONS) for _ in range(2))
    lines = first.output.splitlines()
    assert first.output == second.output
    assert len(lines) == 30
    assert all(orjson.loads(line)["type"] == "transaction" for line in lines)


@pytest.mark.parametrize("as_of", ["yesterday", "2026-13-01", "0001-01-02"])
def test_a_wrong_date_is_one_plain_sentence(as_of: str) -> None:
    result = CliRunner().invoke(app, ["synthesize", "--as-of", as_of])
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "--as-of" in result.stderr


def test_a_directory_that_cannot_be_written_is_one_plain_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, [*_OPTIONS, "--out", str(tmp_path / "file")])
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
