"""When ``make test-hapi`` is skipped, and when it must not be."""

from __future__ import annotations

import pytest

from tests.hapi import __main__ as command
from tests.hapi import build
from tests.hapi.build import BuildFailed, Unavailable, needed, verdict

_OFFLINE = (
    "[ERROR] Non-resolvable import POM: ca.uhn.hapi.fhir:hapi-fhir:pom:8.4.0: Could not transfer artifact"
)


def test_a_build_that_succeeds_is_no_reason_to_skip() -> None:
    verdict(0, "[WARNING] Could not transfer metadata, using the local copy")


def test_without_maven_central_it_is_skipped() -> None:
    with pytest.raises(Unavailable, match="Maven Central"):
        verdict(1, _OFFLINE)


@pytest.mark.parametrize(
    "output", ["[ERROR] COMPILATION ERROR :\n cannot find symbol", "[ERROR] no such goal"]
)
def test_a_server_that_does_not_build_is_a_failure(output: str) -> None:
    with pytest.raises(BuildFailed):
        verdict(1, output)


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="java"):
        needed()


@pytest.mark.parametrize(
    ("fault", "status"), [(Unavailable("there is no mvn on the path"), 0), (BuildFailed("[ERROR] …"), 1)]
)
def test_one_line_says_why_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Exception, status: int
) -> None:
    def failing() -> None:
        raise fault

    monkeypatch.setattr(command, "build", failing)
    assert command.main() == status
    said = capsys.readouterr()
    if status == 0:
        assert said.out == "test-hapi skipped: there is no mvn on the path.\n"
        assert said.err == ""
    else:
        assert "does not build" in said.err


def test_an_old_java_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/bin/{name}")
    old = type("Done", (), {"stderr": 'openjdk version "11.0.2" 2019-01-15', "stdout": ""})
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: old)
    with pytest.raises(Unavailable, match="Java 17"):
        needed()
