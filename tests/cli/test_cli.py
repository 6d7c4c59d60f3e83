"""The command line, as a user runs it."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.command import ROOT, clean_environment, command

COMMAND = str(Path(sys.executable).with_name("clozapine-cds"))
AS_OF = ("--as-of", "2026-11-20T10:00:00Z")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, env=environment)


def _example(name: str) -> str:
    return str(next(p for p in (ROOT / "examples").iterdir() if p.name.endswith(name)) / "request.json")


@pytest.mark.parametrize(
    ("example", "status"), [("start-all-fine", 0), ("mild-neutropenia", 1), ("severe-neutropenia", 2)]
)
def test_check_exit_status_follows_the_worst_card(example: str, status: int) -> None:
    done = run("check", _example(example), *AS_OF)
    assert done.returncode == status, done.stderr


def test_check_prints_cards_and_json() -> None:
    printed = run("check", _example("severe-neutropenia"), *AS_OF).stdout
    assert "severe neutropenia" in printed
    answer = json.loads(run("check", _example("severe-neutropenia"), "--json", *AS_OF).stdout)
    assert answer[0]["cards"][0]["source"]["topic"]["code"] == "anc-severe-neutropenia"


def test_check_explains_what_became_of_every_resource() -> None:
    printed = run("check", _example("unit-missing"), "--explain", *AS_OF, COLUMNS="200").stdout
    assert "17 given = 16 read + 0 irrelevant + 1 not understood" in printed
    assert "it has no unit" in printed
    answer = json.loads(run("check", _example("unit-missing"), "--explain", "--json", *AS_OF).stdout)
    fates = [entry["fate"] for entry in answer[0]["ledger"]["entries"]]
    assert (fates.count("read"), fates.count("not understood")) == (16, 1)


def test_check_a_bundle(tmp_path: Path) -> None:
    request = json.loads(Path(_example("severe-neutropenia")).read_text())
    resources = [
        e["resource"]
        for value in request["prefetch"].values()
        if value and value["resourceType"] == "Bundle"
        for e in value["entry"]
    ]
    bundle = tmp_path / "bundle.json"
    bundle.write_text(
        json.dumps(
            {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": r} for r in [request["prefetch"]["patient"], *resources]],
            }
        )
    )
    assert run("check", str(bundle), "--hook", "patient-view", *AS_OF).returncode == 2
    refused = run("check", str(bundle))
    assert refused.returncode == 3
    assert "--hook" in refused.stderr


def test_check_cannot_evaluate_a_request_without_data(tmp_path: Path) -> None:
    request = json.loads(Path(_example("start-all-fine")).read_text())
    del request["prefetch"]
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    done = run("check", str(file), *AS_OF)
    assert done.returncode == 3
    assert "Clozapine was not checked: no data of this patient could be read." in done.stderr
    assert "Nothing was checked" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_check_says_that_a_file_holds_only_the_first_page(tmp_path: Path) -> None:
    request = json.loads(Path(_example("start-all-fine")).read_text())
    resources = [e["resource"] for v in request["prefetch"].values() if v for e in v.get("entry", [])]
    content = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}],
        "entry": [{"resource": r} for r in [request["prefetch"]["patient"], *resources]],
    }
    bundle = tmp_path / "page.json"
    bundle.write_text(json.dumps(content))
    printed = run("check", str(bundle), "--hook", "patient-view", *AS_OF).stdout
    assert "only the first page is in the file" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "nowhere.json"), "nowhere.json"),
        (("check", "README.md"), "not valid JSON"),
        (("check", "examples/01-start-without-anc/expected.json"), "hook must be"),
        (("check", "examples/01-start-without-anc/request.json", "--as-of", "tomorrow"), "ISO 8601"),
        (("check", "examples/01-start-without-anc/request.json", "--policy", "mars"), "us-label-2025"),
    ],
)
def test_check_says_in_one_sentence_what_is_wrong(arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_policy_commands(tmp_path: Path) -> None:
    assert "us-label-2025" in run("policy", "list").stdout
    shown = run("policy", "show", "us-label-2025").stdout
    assert "Blood count bands" in shown
    assert "Not confirmed" in shown
    assert json.loads(run("policy", "show", "us-label-2025", "--json").stdout)["id"] == "us-label-2025"
    assert run("policy", "validate", "service/alerts/policy/files/us-label-2025.toml").returncode == 0
    bad = tmp_path / "bad.toml"
    bad.write_text(
        'id = "bad"\ntitle = "Bad"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "x"\nschedule = []\n'
    )
    refused = run("policy", "validate", str(bad))
    assert refused.returncode == 1
    assert "schedule" in refused.stderr
    assert run("policy", "show", "mars").returncode == 1


def test_terminology_lookup() -> None:
    assert "clozapine: recognised by the code 197535" in run("terminology", "lookup", "197535").stdout
    assert "by name" in run("terminology", "lookup", "Clozaril 25 mg tablet").stdout
    assert run("terminology", "lookup", "unobtainium").returncode == 1


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("check",),
        ("demo",),
        ("policy", "show"),
        ("policy", "validate"),
        ("db", "upgrade"),
        ("terminology", "lookup"),
    ],
)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert not command or "Example:" in done.stdout


def test_demo_plays_a_day() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every answer was the expected one" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("--host", "0.0.0.0"), {}, "loopback"),
        ((), {"CLOZAPINE_CDS_AUTH": "required"}, "auth"),
        ((), {"CLOZAPINE_CDS_POLICY": "mars"}, "policy"),
        ((), {"CLOZAPINE_CDS_TIME_ZONE": "Mars"}, "time_zone"),
    ],
)
def test_serve_refuses_wrong_settings_in_one_sentence(
    arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    done = run("serve", *arguments, **environment)
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_prints_addresses_and_a_curl_that_gets_a_card(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = clean_environment()
    environment["CLOZAPINE_CDS_DATABASE_URL"] = f"sqlite:///{tmp_path}/var/serve.db"
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", str(port)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                if httpx.get(f"{base}/health/ready", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(7)]
        text = "".join(printed)
        assert f"{base}/cds-services" in text
        assert "loopback only" in text
        curl = next(line.strip() for line in printed if line.strip().startswith("curl"))
        answer = subprocess.run(["bash", "-c", curl], cwd=ROOT, capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout)["cards"][0]["source"]["topic"]["code"] == "anc-missing"
        # The embedded database was made by the start.
        assert httpx.get(f"{base}/registry/patients", trust_env=False, timeout=20).status_code == 200
    finally:
        process.terminate()
        assert process.wait(15) in (0, -15)  # a clean stop, by the signal


def test_policy_diff_as_table_and_json() -> None:
    printed = run("policy", "diff", "us-label-2025", "uk-smpc", COLUMNS="200")
    assert printed.returncode == 0, printed.stderr
    assert "ANC 1 to < 1.5 ×10⁹/L" in printed.stdout
    assert "stop for good" in printed.stdout
    answer = json.loads(run("policy", "diff", "eu-classic", "eu-smpc-2025", "--json").stdout)
    assert (answer["before"], answer["after"]) == ("eu-classic", "eu-smpc-2025")
    assert {"topic", "situation", "before", "after"} == set(answer["changes"][0])
    assert "Nothing changes" in run("policy", "diff", "uk-smpc", "uk-smpc").stdout
    unknown = run("policy", "diff", "uk-smpc", "mars-2030")
    assert unknown.returncode == 1
    assert "unknown policy 'mars-2030'" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("zz",), "No such command 'zz'."),
        (("check",), "FILES"),
        (("serve", "--port", "abc"), "'--port'"),
        (("serve", "--port", "99999"), "65535. See"),
        (("policy", "show", "--colour"), "No such option"),
        (("registry", "delete", "p"), "'--by'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("clozapine-cds")
    assert says.casefold() in line.casefold()
    assert line.endswith("--help.")


def test_a_group_without_a_command_prints_its_help() -> None:
    done = run("policy")
    assert done.returncode == 2
    assert "validate" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None], ids=("not text", "a folder"))
def test_a_policy_file_that_is_none_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ours.toml"
    file.mkdir() if content is None else file.write_bytes(content)
    done = run("policy", "validate", str(file))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ours.toml" in line


def test_a_database_of_another_make_is_refused_without_its_password() -> None:
    done = run("db", "upgrade", CLOZAPINE_CDS_DATABASE_URL="mysql://cds:hush@db.example/cds")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("clozapine-cds cannot start: database_url: ")
    assert "PostgreSQL" in line
    assert "hush" not in line


def test_a_schema_of_a_newer_version_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(
            "CREATE TABLE alembic_version (version_num VARCHAR); INSERT INTO alembic_version VALUES ('9999')"
        )
    done = run("db", "upgrade", CLOZAPINE_CDS_DATABASE_URL=f"sqlite:///{file}")
    assert done.returncode == 1
    assert done.stderr == "database_url: the schema is of a newer version of the service; it stays as it is\n"


def test_a_port_that_is_taken_stops_the_start_before_anything_is_promised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done.returncode == 3
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(port) in line
    assert "--port" in line


def test_check_reads_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(b"\xef\xbb\xbf" + Path(_example("severe-neutropenia")).read_bytes())
    assert run("check", str(file), *AS_OF).returncode == 2


def test_the_hint_for_the_first_ehr_names_its_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cds.db"
    run("db", "upgrade", CLOZAPINE_CDS_DATABASE_URL=url)
    assert "[[ehr]]" in run("ehr", "list", CLOZAPINE_CDS_DATABASE_URL=url).stdout


def test_check_plays_no_request_at_another_hook() -> None:
    refused = run("check", _example("severe-neutropenia"), "--hook", "patient-view", *AS_OF)
    assert refused.returncode == 3
    assert "a request of the hook order-sign" in refused.stderr
    assert run("check", _example("severe-neutropenia"), "--hook", "order-sign", *AS_OF).returncode == 2
