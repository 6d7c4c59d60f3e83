"""The roster in and out: CSV and NDJSON in, FHIR Group and NDJSON out; what cannot be used is named and skipped."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.group import Group
from sqlalchemy import Engine

from service.alerts.case import remembered
from service.options.site import Site
from service.registry.exchange import ImportFailed, export_files, import_file
from service.registry.roster import find
from service.store.database import engine_for, upgrade
from service.terminology.rxnorm import Entry, Release
from service.terminology.terminology import store
from tests import data
from tests.command import command
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.sites import site_of


def _watch(site: str) -> Site:
    return site_of(site, ZONE)


def _row(engine: Engine, site: str, patient: str) -> Any:
    with engine.connect() as connection:
        return find(connection, site, patient)


CSV = """patient,course_start,anc,anc_at,dose_mg
p1,2025-06-01,3200,2026-11-10,300
Patient/p2,,,,
p3,2025-13-01,3200,2026-11-10,
p4,2025-06-01,-5,2026-11-10,
p5,2025-06-01,3200,,
,2025-06-01,3200,2026-11-10,
p6&_id=x,2025-06-01,3200,2026-11-10,
p7,2026-12-01,3200,2026-11-10,
p8,2025-06-01,3200,2026-12-10,
"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_csv_file_enrols_patients_and_names_the_lines_it_cannot_use(
    engine: Engine, site: str, tmp_path: Path, packed: bool
) -> None:
    file = tmp_path / ("list.csv.gz" if packed else "list.csv")
    file.write_bytes(gzip.compress(CSV.encode(), mtime=0) if packed else CSV.encode())
    done = import_file(engine, _watch(site), file, NOW)
    assert done.enrolled == 2
    assert [p.split(":")[0] for p in done.problems] == [f"line {n}" for n in range(4, 11)]
    assert "course_start: '2025-13-01' is not an ISO 8601 date" in done.problems[0]
    first = _row(engine, site, "p1")
    assert (first.state, first.last_anc, str(first.course_start), str(first.next_due)) == (
        "on",
        3200,
        "2025-06-01",
        "2026-12-10",
    )
    [record] = remembered.load(first.facts).medications
    assert record.label == "clozapine"
    assert record.dose is not None
    assert (record.dose.mg_per_day, record.dose.text) == (300, "300 mg/d")
    # Nothing is known of p2 but the name: due now, and weekly until somebody tells the start.
    second = _row(engine, site, "p2")
    assert (second.interval_days, str(second.next_due)) == (7, "2026-11-20")


def test_importing_twice_adds_nobody_and_keeps_what_calls_told(
    engine: Engine, site: str, tmp_path: Path
) -> None:
    register(engine, site, [facts("p1", anc(900, 2))])
    file = tmp_path / "list.csv"
    file.write_text("patient,course_start\np1,2025-06-01\n")
    for _ in range(2):
        assert import_file(engine, _watch(site), file, NOW).enrolled == 1
    assert _row(engine, site, "p1").last_anc == 900


def test_an_ndjson_file_enrols_those_on_clozapine(engine: Engine, site: str, tmp_path: Path) -> None:
    resources = [
        data.clozapine(300, id="a", status="active", patient="n1", authoredOn=data.day_ago(500)),
        data.anc(2.9, 4, id="b", patient="n1"),
        {"resourceType": "Patient", "id": "n1", "gender": "female"},
        data.order("sertraline 50 mg", id="c", status="active", patient="n2"),
    ]
    file = tmp_path / "chart.ndjson"
    file.write_text("\n".join([*(json.dumps(r) for r in resources), "{broken"]))
    done = import_file(engine, _watch(site), file, NOW)
    assert done.enrolled == 1
    assert done.problems == ["line 5: an entry is not a JSON object"]
    assert _row(engine, site, "n1").last_anc == 2900


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.xlsx", "x", "a .csv or .ndjson file"),
        ("list.csv", "id,anc\n1,2\n", "columns out of patient, course_start"),
        ("list.csv", "patient,shoe_size\n1,2\n", "not known: shoe_size"),
        ("list.csv", b"patient,anc\nM\xfcller,1\n", "not UTF-8"),
        ("list.csv", 'patient,anc\n"' + "x" * 200_000 + '",1\n', "not readable as CSV"),
        ("list.csv.gz", b"no gzip", "cannot be read to its end"),
        ("chart.ndjson.gz", gzip.compress(b"{}" * 5000, mtime=0)[:-9], "cannot be read to its end"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    engine: Engine, site: str, tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ImportFailed, match=says):
        import_file(engine, _watch(site), tmp_path / name, NOW)


def test_the_export_is_a_group_and_lines_of_this_site_only(engine: Engine, site: str, tmp_path: Path) -> None:
    register(engine, site, [facts("p1", anc(3200, 31)), facts("p2", anc(3200, 3))])
    register(engine, f"{site}-other", [facts("p3", anc(3200, 3))])
    written = export_files(engine, site, tmp_path / "out", datetime(2026, 11, 20, tzinfo=UTC))
    assert written["group.json"] == written["patients.ndjson"] == 2
    group = json.loads((tmp_path / "out" / "group.json").read_text())
    Group.model_validate(group)
    assert [m["entity"]["reference"] for m in group["member"]] == ["Patient/p1", "Patient/p2"]
    lines = (tmp_path / "out" / "patients.ndjson").read_text().splitlines()
    assert json.loads(lines[0])["facts"]["measurements"]["anc"][0]["value"] == 3200


def test_commands(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    upgrade(url)
    engine = engine_for(url)
    register(engine, "default", [facts("p1", anc(3200, 90)), facts("p2", anc(3200, 3))])
    # A code that only the imported terminology knows.
    store(engine, Release("test", [Entry("urn:own", "C1", ("clozapine",), "clozapine")], 1), NOW)
    engine.dispose()

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command("registry", *arguments, env={"CLOZAPINE_CDS_DATABASE_URL": url, "COLUMNS": "200"})

    swept = cli("sweep", "--as-of", "2026-11-20T10:00:00Z", "--json")
    assert json.loads(swept.stdout)["patients"] == 2
    assert json.loads(swept.stdout)["alerts"]["opened"] >= 1
    listed = json.loads(cli("list", "--status", "on", "--json").stdout)
    assert [p["patient_id"] for p in listed] == ["p1", "p2"]
    shown = cli("show", "p1")
    assert "opened" in shown.stdout
    assert "ANC overdue" in shown.stdout
    assert cli("show", "nobody").returncode == 1
    assert cli("list", "--status", "late").stderr.startswith("--status: 'late' is none of")
    assert cli("list", "--site", "south").stderr.startswith(
        "--site: there is no site 'south'; known: default"
    )
    order = data.clozapine(300, id="a", status="active", patient="p9", authoredOn=data.day_ago(500))
    order["medicationCodeableConcept"] = {"coding": [{"system": "urn:own", "code": "C1"}]}
    (tmp_path / "chart.ndjson").write_text(json.dumps(order))
    assert "1 patients enrolled" in cli("import", str(tmp_path / "chart.ndjson")).stdout
    assert cli("merge", "p9", "p9").returncode == 1
    assert cli("unenrol", "p9").returncode == 0
    assert "is watched again" in cli("enrol", "p9").stdout
    assert cli("unenrol", "p2").returncode == 0
    proof = json.loads(cli("delete", "p1", "--by", "Privacy office").stdout)
    assert proof["rows"]["patients"] == 1
    assert cli("export", str(tmp_path / "out")).returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        # As spreadsheets save it.
        ("list.csv", "patient,course_start\nMüller,2025-06-01\n".encode("utf-16"), "UTF-8"),
        ("list.ndjson", b'{"resourceType": "Patient", "id": "M\xfcller"}\n', "UTF-8"),
        ("list.csv.gz", b"patient\np1\n", "cannot be read to its end"),
        (
            "list.ndjson.gz",
            gzip.compress(b'{"resourceType": "Patient"}\n' * 50, mtime=0)[:-12],
            "cannot be read to its end",
        ),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_a_sentence(
    engine: Engine, site: str, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFailed, match=says):
        import_file(engine, _watch(site), tmp_path / name, NOW)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("p1,2025-06-01,2.5,2026-11-10,300", "anc: 2.5 cells/µL is not possible; a count of 2.5 ×10⁹/L is written as 2500"),
        ("p1,2025-06-01,3,2026-11-10,300", "anc: 3 cells/µL is not possible"),
        ("p1,2025-06-01,12.5,2026-11-10,300", "anc: 12.5 cells/µL is not possible"),
        ("p1,2025-06-01,nan,2026-11-10,300", "anc: nan cells/µL is not possible"),
        ("p1,2025-06-01,3200,2026-11-10,0.3", "dose_mg: 0.3 mg/day is not possible"),
        ("p1,2025-06-01,3200,2026-11-10,300000", "dose_mg: 300000 mg/day is not possible"),
        ("p1,0001-01-01,3200,2026-11-10,300", "course_start: '0001-01-01' is not an ISO 8601 date of a year from 1900 on"),
        ("p1,2025-06-01,3200,0001-01-01T00:00:00+14:00,300", "anc_at: '0001-01-01T00:00:00+14:00' is not"),
        ("p1,2025-06-01,3200,9999-12-31T23:59:59-14:00,300", "anc_at: '9999-12-31T23:59:59-14:00' is not"),
    ],
)  # fmt: skip
def test_what_is_absurd_is_refused_with_its_line(tmp_path: Path, empty: Engine, row: str, says: str) -> None:
    (tmp_path / "list.csv").write_text(f"patient,course_start,anc,anc_at,dose_mg\n{row}\n")
    done = import_file(empty, _watch("absurd"), tmp_path / "list.csv", NOW)
    assert done.enrolled == 0
    assert len(done.problems) == 1
    assert done.problems[0].startswith(f"line 2: {says}")


@pytest.mark.parametrize("anc", ["0", "10", "90", "450", "2500", "2500.5"])
def test_low_counts_are_not_absurd(tmp_path: Path, empty: Engine, anc: str) -> None:
    (tmp_path / "list.csv").write_text(
        f"patient,course_start,anc,anc_at,dose_mg\np-{anc},2025-06-01,{anc},2026-11-10,300\n"
    )
    done = import_file(empty, _watch("low"), tmp_path / "list.csv", NOW)
    assert (done.enrolled, done.problems) == (1, [])


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('empty')}/r.db"
    upgrade(url)
    engine = engine_for(url)
    yield engine
    engine.dispose()
