"""A whole export: files, faults, memory, processes, and the reports an operator and a committee get."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.backtest.export import ExportError, files_of
from service.backtest.relevance import Marks
from service.backtest.report import as_html
from service.backtest.run import OPTIONAL_TYPES
from tests.backtest.export import CIPROFLOXACIN, LABEL, alerts, anc, order, patient, run, write
from tests.command import command
from tests.sites import site_of

ROOT = Path(__file__).parents[2]
NONE_OF = [word for name in OPTIONAL_TYPES for word in ("--none-of", name)]


def some_patients(count: int = 40) -> list[dict[str, Any]]:
    """Every second patient starts clozapine in March 2026 at 300 mg, without a count, and gets ciprofloxacin in April."""
    resources: list[dict[str, Any]] = []
    for number in range(count):
        who = f"p{number}"
        resources.append(patient(who))
        if number % 2 == 0:
            resources.append(order(f"{who}-clz", "2026-03-02T09:00:00Z", who=who))
            resources.append(anc(f"{who}-anc", 3.0, "2026-04-05T09:00:00Z", who=who))
        resources.append(order(f"{who}-cip", "2026-04-06T09:00:00Z", CIPROFLOXACIN, who=who))
    return resources


def backtested(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command("backtest", *arguments, env=environment)


# -- the export ------------------------------------------------------------------------------------------------------


def test_gzip_many_files_and_partitions_give_the_same_numbers(tmp_path: Path) -> None:
    plain = run(write(tmp_path / "plain", some_patients()))
    assert plain.patients == 20
    assert plain.orders[LABEL] == 40
    assert alerts(plain)["anc-missing", "critical"] == 20
    assert alerts(plain)["interaction-cyp1a2-strong-inhibitor", "critical"] == 20
    zipped = run(write(tmp_path / "gz", some_patients(), files_per_type=3, zipped=True), partition_bytes=3000)
    assert msgspec.to_builtins(zipped) == msgspec.to_builtins(plain)


def test_several_processes_give_the_same_numbers(tmp_path: Path) -> None:
    export = write(tmp_path, some_patients())
    one = run(export, partition_bytes=10_000)
    two = run(export, partition_bytes=10_000, jobs=2)
    assert msgspec.to_builtins(two) == msgspec.to_builtins(one)


def test_lines_that_cannot_be_read_are_counted_and_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    export = write(tmp_path, some_patients(2))
    with (export / "Observation.000.ndjson").open("ab") as file:
        file.write(b'\n{"resourceType": "Observation", "id"\n[]\n\xff\xfe\n{"id": "no-type"}\n   \n')
        file.write(json.dumps(anc("last", 0.4, "2026-03-01T09:00:00Z", who="p0")).encode())
    tally = run(export)
    assert tally.faults.count == 4
    assert [named.split(": ")[0] for named in tally.faults.named] == [
        f"Observation.000.ndjson:{number}" for number in (3, 4, 5, 6)
    ]
    assert alerts(tally)["anc-below-initiation", "critical"] == 1


def test_a_damaged_gzip_file_is_named_and_the_other_files_are_read(tmp_path: Path) -> None:
    export = write(tmp_path, some_patients(200), zipped=True)
    damaged = export / "Observation.000.ndjson.gz"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    (export / "Condition.000.ndjson.gz").write_bytes(b"this is not gzip")
    tally = run(export)
    assert tally.patients == 100
    assert {named.split(".")[0] for named in tally.faults.named} == {"Observation", "Condition"}
    assert all("damaged" in named for named in tally.faults.named)


def test_a_line_without_end_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.backtest import export as export_module

    monkeypatch.setattr(export_module, "_LONGEST_LINE", 5000)
    export = write(tmp_path, some_patients(2))
    with (export / "Observation.000.ndjson").open("ab") as file:
        file.write(b'{"resourceType": "Observation", "note": "' + b"x" * 30_000 + b'"}\n')
        file.write(json.dumps(anc("last", 0.4, "2026-03-01T09:00:00Z", who="p0")).encode() + b"\n")
    tally = run(export)
    assert tally.faults.named == ["Observation.000.ndjson:2: longer than any resource; left out"]
    assert alerts(tally)["anc-below-initiation", "critical"] == 1


def test_file_names_tell_what_need_not_be_read(tmp_path: Path) -> None:
    for name in (
        "MedicationRequest.ndjson",
        "1.Observation-2.ndjson.gz",
        "Encounter.000.ndjson",
        "part-3.ndjson",
        "manifest.json",
    ):
        (tmp_path / name).write_bytes(b"")
    assert {f.name: f.type_name for f in files_of(tmp_path)} == {
        "MedicationRequest.ndjson": "MedicationRequest",
        "1.Observation-2.ndjson.gz": "Observation",
        "part-3.ndjson": "",
    }


@pytest.mark.parametrize(
    ("names", "says"),
    [(None, "no such directory"), ((), "no *.ndjson"), (("Patient.ndjson",), "medication records")],
)
def test_what_is_no_export_is_refused(tmp_path: Path, names: tuple[str, ...] | None, says: str) -> None:
    directory = tmp_path / "export"
    if names is not None:
        directory.mkdir()
        for name in names:
            (directory / name).write_bytes(b"")
    with pytest.raises(ExportError, match=says.replace("*", r"\*")):
        files_of(directory)


def test_marks_forget_nobody() -> None:
    marks = Marks()
    names = [f"patient-{n}" for n in range(20_000)]
    for name in names:
        marks.add(name)
    assert all(name in marks for name in names)
    assert sum(f"other-{n}" in marks for n in range(20_000)) < 200


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    run(write(tmp_path / "export", some_patients(4)), work_directory=work)
    assert list(work.iterdir()) == []


def _peak(export: Path, warm: Path, partition_bytes: int = 60_000) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.backtest.peak", str(export), str(warm), str(partition_bytes)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_export(tmp_path: Path) -> None:
    small = write(tmp_path / "small", some_patients(500))
    large, huge = (write(tmp_path / str(n), some_patients(n)) for n in (2000, 6000))

    def grown(one: Path, other: Path) -> int:
        return sum(f.stat().st_size for f in other.iterdir()) - sum(f.stat().st_size for f in one.iterdir())

    assert grown(small, large) > 1_000_000
    # Three times the patients: of few partitions the largest is smaller by chance, of dozens hardly any more ...
    assert _peak(huge, small) - _peak(large, small) < 0.15 * grown(large, huge)
    # ... which in one piece would add more than they weigh on disk: the measurement sees what it should.
    assert _peak(large, small, 10**9) - _peak(small, small, 10**9) > grown(small, large)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_prints_json_and_writes_csv_and_html(tmp_path: Path) -> None:
    export = write(tmp_path / "export", some_patients())
    done = backtested(
        str(export), "--json", "--csv", str(tmp_path / "r.csv"), "--html", str(tmp_path / "r.html"), "--jobs", "1", *NONE_OF
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["patients"] == report["evaluatedPatients"] == 20
    (policy,) = report["policies"]
    assert (policy["label"], policy["orders"], policy["signings"]) == (LABEL, 40, 40)
    assert policy["withCriticalPercent"] == 100.0
    rates = {(c["code"], c["severity"]): (c["alerts"], c["per100"]) for c in policy["codes"]}
    assert rates["anc-missing", "critical"] == (20, 50.0)
    assert rates["interaction-cyp1a2-strong-inhibitor", "critical"] == (20, 50.0)
    assert policy["alerts"] == sum(alerts for alerts, _ in rates.values())
    assert [(m["month"], m["orders"]) for m in policy["months"]] == [("2026-03", 20), ("2026-04", 20)]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert {
        "policy": LABEL,
        "code": "anc-missing",
        "severity": "critical",
        "alerts": "20",
        "orders": "40",
        "alerts_per_100_orders": "50.0",
    } in rows
    assert len(rows) == len(policy["codes"])
    _check_page((tmp_path / "r.html").read_text(), bars=len({c["code"] for c in policy["codes"]}))


class _Page(html.parser.HTMLParser):
    """Open tags, and every address a page would load."""

    void = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _check_page(text: str, bars: int) -> None:
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses == []
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("rect") >= bars
    assert "alerts per 100 orders" in text
    assert "How this was counted" in text
    assert "@media print" in text


def test_the_command_prints_tables_and_notes(tmp_path: Path) -> None:
    export = write(tmp_path, some_patients(4))
    (export / "Patient.000.ndjson").open("ab").write(b"broken\n")
    done = backtested(
        str(export),
        "--policy",
        LABEL,
        "--from",
        "2026-04-01",
        "--site-timezone",
        "America/New_York",
        COLUMNS="200",
    )
    assert done.returncode == 0, done.stderr
    assert "2 patients with a record of clozapine, 2 with orders in the period" in done.stdout
    assert "interaction-cyp1a2-strong-inhibitor" in done.stdout
    assert "dose-start-too-high" not in done.stdout  # March lies outside the period
    assert "Patient.000.ndjson:5: not a FHIR resource in JSON" in done.stdout
    assert "Not in the export: AllergyIntolerance, Condition" in done.stdout
    assert "numbers are not confirmed" in done.stdout
    assert "Running the rules" in done.stderr  # progress


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "nowhere: there is no such directory"),
        (("docs",), "Bulk Data export is expected"),
        (("docs", "--policy", "mars"), "us-label-2025"),
        (("docs", "--from", "yesterday"), "--from"),
        (("docs", "--to", "2026-02-30"), "--to"),
        (("docs", "--site-timezone", "Mars"), "IANA"),
        (("docs", "--none-of", "Mars"), "--none-of"),
        (("docs", "--html", "nowhere/report.html"), "no directory nowhere"),
        (("docs", "--work-directory", "nowhere"), "no directory nowhere"),
    ],
)
def test_the_command_says_in_one_sentence_what_is_wrong(arguments: tuple[str, ...], says: str) -> None:
    done = backtested(*arguments)
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_has_help_with_an_example() -> None:
    done = backtested("--help")
    assert done.returncode == 0
    assert "Example:" in done.stdout


def test_every_option_is_in_the_documentation() -> None:
    from typer.main import get_command

    from service.cli.main import app

    page = (ROOT / "docs" / "backtest.md").read_text()
    options = _options(get_command(app).commands["backtest"])  # type: ignore[attr-defined]
    assert [name for name in options if f"`{name}" not in page] == []


def _options(backtest: Any) -> Iterator[str]:
    for parameter in backtest.params:
        yield from (name for name in parameter.opts if name.startswith("--"))


def test_a_page_without_any_alert_is_still_a_page(tmp_path: Path) -> None:
    from service.alerts.policy.policy import policy_by_id
    from service.backtest.replay import Protocol
    from service.backtest.report import report_of
    from service.backtest.run import Options, backtest

    policy = policy_by_id(LABEL)
    export = write(tmp_path, [patient(), order("x", "2026-04-06", CIPROFLOXACIN)])

    outcome = backtest(
        Options(directory=export, protocols=(Protocol(LABEL, policy),), site=site_of("ward", UTC))
    )
    _check_page(as_html(report_of(outcome)), bars=0)
