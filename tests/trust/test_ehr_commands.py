"""``clozapine-cds ehr``, as an administrator uses it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import orjson
import pytest

from service.store.database import upgrade
from tests.command import command
from tests.data import anc, on_clozapine
from tests.ehr import Ehr
from tests.signing import Signer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    settings = {
        "AUTH": "required",
        "BASE_URL": "https://cds.hospital.example",
        "DATABASE_URL": f"sqlite:///{tmp_path}/ehrs.db",
    }
    return {f"CLOZAPINE_CDS_{k}": v for k, v in settings.items()} | {"COLUMNS": "250"}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, env=environment)


def _add(environment: dict[str, str], ehr: Ehr, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run(
        environment, "ehr", "add", name, "--issuer", f"https://{name}.example", "--jwks-uri", f"{ehr.base_url}/jwks",
        "--fhir-server", f"{ehr.base_url}/fhir", *more,
    )  # fmt: skip


def test_add_list_check(environment: dict[str, str], ehr: Ehr, tmp_path: Path) -> None:
    before = _add(environment, ehr, "north")
    assert before.returncode == 1
    assert "clozapine-cds db upgrade" in before.stderr
    assert "Traceback" not in before.stderr
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    assert "No EHR may call yet" in run(environment, "ehr", "list").stdout
    assert run(environment, "serve").returncode == 3
    added = _add(
        environment, ehr, "north", "--time-zone", "America/New_York", "--profile", "epic", "--shadow"
    )
    assert added.returncode == 0, added.stderr
    listed = run(environment, "ehr", "list").stdout
    for word in ("north", "https://north.example", "America/New_York", "epic, shadow", "database"):
        assert word in listed
    again = _add(environment, ehr, "north")
    assert again.returncode == 3
    assert "--replace" in again.stderr
    assert (
        _add(environment, ehr, "north", "--replace", "--profile", "oracle", "--errors", "status").returncode
        == 0
    )
    assert "oracle" in run(environment, "ehr", "list").stdout

    ehr.add(anc(), on_clozapine(), {"resourceType": "Patient", "id": "clz-p1"})
    checked = run(environment, "ehr", "check", "north")
    assert f"{ehr.base_url}/jwks holds 1 usable (kid {ehr.signer.kid})" in checked.stdout
    assert "FHIR version 4.0.1" in checked.stdout
    assert "MedicationDispense is not offered; dispenses will be missing" in checked.stdout
    assert "Searches: not tried" in checked.stdout
    assert checked.returncode == 1

    for name in (
        "MedicationStatement",
        "MedicationDispense",
        "MedicationAdministration",
        "Condition",
        "AllergyIntolerance",
    ):
        ehr.resources[name] = []
    token = tmp_path / "token"
    token.write_text(ehr.token + "\n")
    searched = run(environment, "ehr", "check", "north", "--patient", "clz-p1", "--token-file", str(token))
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "Search counts: 1 resources" in searched.stdout
    assert ehr.token not in searched.stdout + searched.stderr
    assert "not_sent" not in searched.stdout
    assert "Record: 3 resources: 3 read, 0 irrelevant, 0 not understood." in searched.stdout
    # What nobody understands of the test patient is named, the most frequent first; it is no fault of the connection.
    ehr.add(
        anc(id="anc-2", unit="bananas"), anc(id="anc-3", unit="bananas"), anc(id="anc-4", valueQuantity={})
    )
    gaps = run(environment, "ehr", "check", "north", "--patient", "clz-p1", "--token-file", str(token))
    assert gaps.returncode == 0, gaps.stdout
    first, second = (line for line in gaps.stdout.splitlines() if "Not understood:" in line)
    assert "2 × counts, result" in first
    assert "1 × counts, result: it has no value" in second
    # What this EHR seems not to have is proposed as a setting, never learned.
    ehr.failing = {"MedicationStatement", "MedicationDispense"}
    proposed = run(environment, "ehr", "check", "north", "--patient", "clz-p1", "--token-file", str(token))
    assert 'not_sent = ["statements", "dispenses"]' in proposed.stdout
    ehr.failing = {"MedicationStatement", "MedicationRequest"}
    broken = run(environment, "ehr", "check", "north", "--patient", "clz-p1", "--token-file", str(token))
    assert "not_sent" not in broken.stdout


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("keys down", "the key server answered 503"),
        ("keys redirected", "the key server answered 307"),
        ("no keys", "holds no key for ES384, RS384"),
        ("not keys", "cannot be used: it is not JSON"),
        ("old FHIR", "this service reads R4"),
        ("not FHIR", "is not a CapabilityStatement"),
        ("wrong token", "Search counts: the FHIR server answered 401"),
    ],
)
def test_check_says_what_is_wrong(environment: dict[str, str], ehr: Ehr, fault: str, says: str) -> None:
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    assert _add(environment, ehr, "north").returncode == 0
    if fault == "keys down":
        ehr.keys_down = True
    elif fault == "keys redirected":
        ehr.keys_redirect = "https://elsewhere.example/jwks"
    elif fault == "no keys":
        ehr.signer.keys.clear()
    elif fault == "not keys":
        ehr.keys_raw = (b"<html>", {})
    elif fault == "old FHIR":
        ehr.metadata_statement = {"resourceType": "CapabilityStatement", "fhirVersion": "3.0.2"}
    elif fault == "not FHIR":
        ehr.metadata_statement = {"hello": "world"}
    checked = run(environment, "ehr", "check", "north", "--patient", "p1")
    assert says in checked.stdout
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize(
    ("path", "status"), [("http://inner-name:8080/fhir/?_getpages=1", 1), ("{base}/fhir/x?p=2", 0)]
)
def test_pages_on_another_server_are_told_before_a_patient_is_involved(
    environment: dict[str, str], ehr: Ehr, tmp_path: Path, path: str, status: int
) -> None:
    """A FHIR server behind a proxy that writes its inner address into its links: the first page would be all there is."""
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    assert _add(environment, ehr, "north").returncode == 0
    types = ("Statement", "Dispense", "Administration")
    for name in (*(f"Medication{t}" for t in types), "Condition", "AllergyIntolerance"):
        ehr.resources[name] = []
    ehr.add(anc(), on_clozapine(), {"resourceType": "Patient", "id": "clz-p1"})
    ehr.next_link = path.format(base=ehr.base_url)
    token = tmp_path / "token"
    token.write_text(ehr.token)
    found = run(environment, "ehr", "check", "north", "--patient", "clz-p1", "--token-file", str(token))
    assert found.returncode == status, found.stdout
    assert ("another server" in found.stdout) == bool(status)


def test_an_ehr_that_cannot_be_reached(environment: dict[str, str], ehr: Ehr) -> None:
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    run(environment, "ehr", "add", "away", "--issuer", "https://away.example", "--jwks-uri", "https://127.0.0.1:9/jwks",
        "--fhir-server", "https://127.0.0.1:9/fhir")  # fmt: skip
    checked = run(environment, "ehr", "check", "away")
    assert checked.returncode == 1
    assert checked.stdout.count("could not be reached") == 2


def test_keys_of_a_file_are_stored_without_private_parts(environment: dict[str, str], tmp_path: Path) -> None:
    from jwt.algorithms import ECAlgorithm

    signer = Signer()
    leaked = ECAlgorithm.to_jwk(signer.keys[signer.kid], as_dict=True) | {"kid": "leaked"}
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps({"keys": [leaked, {"kty": "oct", "k": "c2VjcmV0", "kid": "h"}]}))
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    added = run(environment, "ehr", "add", "north", "--issuer", "https://n.example", "--jwks-file", str(file))
    assert added.returncode == 0, added.stderr
    file.unlink()
    assert "holds 1 usable (kid leaked)" in run(environment, "ehr", "check", "north").stdout
    stored = (tmp_path / "ehrs.db").read_bytes()
    assert leaked["x"].encode() in stored
    assert leaked["d"].encode() not in stored
    assert b"c2VjcmV0" not in stored


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "north"), "issuer"),
        (("add", "north", "--issuer", "https://n.example"), "exactly one of jwks_uri, jwks_file and keys"),
        (("add", "north", "--issuer", "x", "--jwks-uri", "http://n.example/jwks"), "https"),
        (
            ("add", "north", "--issuer", "x", "--jwks-uri", "https://n.example/jwks", "--policy", "mars"),
            "us-label-2025",
        ),
        (
            ("add", "north", "--issuer", "x", "--jwks-uri", "https://n.example/jwks", "--time-zone", "Mars"),
            "time zone",
        ),
        (("add", "north", "--from", "nowhere.toml"), "nowhere.toml"),
        (("add", "north", "--from", "pyproject.toml"), "one [[ehr]] table"),
        (("check", "south"), "there is no EHR named 'south'"),
    ],
)
def test_wrong_arguments_in_one_sentence(
    environment: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    done = run(environment, "ehr", *arguments)
    assert done.returncode == 3
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_add_from_a_table(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "north.toml"
    file.write_text(
        '[[ehr]]\nname = "x"\nissuer = "https://n.example"\njwks_uri = "https://n.example/jwks"\nsnooze_days = 3\n'
        '[ehr.codes]\n"urn:lab|NEUT" = "anc"\n'
    )
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    assert run(environment, "ehr", "add", "north", "--from", str(file), "--profile", "epic").returncode == 0
    listed = run(environment, "ehr", "list").stdout
    assert "north" in listed
    assert "epic" in listed


def test_a_finding_that_does_not_exist_cannot_be_put_in_the_shadow(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "north.toml"
    file.write_text(
        '[[ehr]]\nname = "x"\nissuer = "https://n.example"\njwks_uri = "https://n.example/jwks"\n'
        'shadow_codes = ["weight-gian"]\n'
    )
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    refused = run(environment, "ehr", "add", "north", "--from", str(file))
    assert refused.returncode == 3
    assert "did you mean 'weight-gain'" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_configured_ehrs_are_listed_and_win(environment: dict[str, str], ehr: Ehr) -> None:
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    configured = environment | {"CLOZAPINE_CDS_EHRS": json.dumps([ehr.settings("north")])}
    assert "configuration" in run(configured, "ehr", "list").stdout
    refused = _add(configured, ehr, "north")
    assert refused.returncode == 3
    assert "configuration" in refused.stderr


@pytest.mark.parametrize("command", ["add", "list", "check"])
def test_help_has_an_example(environment: dict[str, str], command: str) -> None:
    done = run(environment, "ehr", command, "--help")
    assert done.returncode == 0
    assert "Example:" in done.stdout


def test_on_a_narrow_terminal_a_disabled_ehr_is_named_whole(environment: dict[str, str], ehr: Ehr) -> None:
    table = ehr.settings("north-of-the-river", time_zone="America/New_York") | {"enabled": False}
    narrow = environment | {"COLUMNS": "80", "CLOZAPINE_CDS_EHRS": json.dumps([table])}
    upgrade(environment["CLOZAPINE_CDS_DATABASE_URL"])
    listed = run(narrow, "ehr", "list").stdout
    assert "north-of-the-river" in listed
    assert "disabled" in listed
