"""The bill of materials is the same each time; the audit says what it could not find out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import audit

ROOT = Path(__file__).parents[2]


def test_the_bill_of_materials_lists_every_pinned_package_and_is_the_same_each_time(tmp_path: Path) -> None:
    recipe = (ROOT / "Makefile").read_text()
    command = re.search(r"-m (cyclonedx_py .*) -o var/sbom.json", recipe)
    assert command is not None
    made = []
    for number in range(2):
        file = tmp_path / f"{number}.json"
        arguments = [sys.executable, "-W", "ignore", "-m", *command.group(1).split(), "-o", str(file)]
        subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
        made.append(file.read_bytes())
    assert made[0] == made[1]
    listed = {(c["name"], c["version"]) for c in json.loads(made[0])["components"]}
    pinned = re.findall(
        r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements/runtime.lock").read_text(), re.M
    )
    assert listed == set(pinned)
    assert str(ROOT).encode() not in made[0]


_FINE = {"name": "a", "version": "1", "vulns": []}
_BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-2026-1"}]}
_SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([_FINE], 0, "no known vulnerability in 1 packages"),
        ([_FINE, _SKIPPED], 0, "not known to the service: c"),
        ([_FINE, _BAD], 1, "b 2: PYSEC-2026-1"),
        (
            [_SKIPPED, _SKIPPED],
            audit.NOT_DONE,
            "NOT DONE, the vulnerability service knows none of the 2 packages",
        ),
    ],
)
def test_what_the_audit_says(packages: list[dict[str, object]], status: int, says: str) -> None:
    found, text = audit.verdict(min(status, 1), json.dumps({"dependencies": packages}), "")
    assert found == status
    assert says in text
    assert len(text.splitlines()) == 1


def test_a_broken_audit_is_not_a_pass() -> None:
    assert audit.verdict(1, "", "ERROR: the requirements are invalid")[0] == 1


def test_a_service_that_cannot_be_reached_is_no_pass_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    nowhere = ["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query", "--timeout", "2"]
    monkeypatch.delenv("AUDIT", raising=False)
    assert audit.main(nowhere) == audit.NOT_DONE
    printed = capsys.readouterr().out
    assert "NOT DONE, the vulnerability service could not be reached" in printed
    assert len(printed.strip().splitlines()) == 1
    monkeypatch.setenv("AUDIT", "skip")
    assert audit.main(nowhere) == 0
    assert "SKIPPED" in capsys.readouterr().out
