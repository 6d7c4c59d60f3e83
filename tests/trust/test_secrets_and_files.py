"""Secrets at rest are sealed or refused; files and databases are their owner's alone; what is printed is data."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from service.options.options import SiteOptions
from service.registry.ehr_sites import stored_ehrs
from service.site.secrets import SECRET_OPTIONS, SecretError, Secrets
from service.site.settings import Settings
from service.site.trust import Directory
from service.store.database import engine_for, upgrade
from tests.command import command
from tests.registry.roster import anc, facts, register

_KEY = "k" * 32
_TABLE = (
    '[[ehr]]\nname = "x"\nissuer = "https://n.example"\njwks_uri = "https://127.0.0.1:9/jwks"\n'
    'webhook = "https://events.example/x"\nwebhook_secret = "hook-s3cret"\n'
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/db/ehrs.db"
    upgrade(url)
    (tmp_path / "north.toml").write_text(_TABLE)
    names = {"AUTH": "required", "BASE_URL": "https://cds.hospital.example", "DATABASE_URL": url}
    return {f"CLOZAPINE_CDS_{k}": v for k, v in names.items()} | {"COLUMNS": "200"}


def _settings(environment: dict[str, str], key: str) -> Settings:
    return Settings(
        auth="required", base_url="https://cds.hospital.example", database_url=environment["CLOZAPINE_CDS_DATABASE_URL"], secrets_key=SecretStr(key)
    )  # fmt: skip


def test_every_secret_of_an_ehr_is_one_that_is_sealed() -> None:
    secret = {n for n, f in SiteOptions.model_fields.items() if "Secret" in str(f.annotation)}
    assert set(SECRET_OPTIONS) == secret == {"webhook_secret"}


def test_a_secret_is_stored_sealed_or_not_at_all(environment: dict[str, str], tmp_path: Path) -> None:
    add = ("ehr", "add", "north", "--from", str(tmp_path / "north.toml"))
    refused = command(*add, env=environment)
    assert refused.returncode == 3
    assert "webhook_secret: it is not stored in the clear; set CLOZAPINE_CDS_SECRETS_KEY" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    short = command(*add, env=environment | {"CLOZAPINE_CDS_SECRETS_KEY": "short"})
    assert (short.returncode, "at least 32 characters" in short.stderr) == (3, True)
    added = command(*add, env=environment | {"CLOZAPINE_CDS_SECRETS_KEY": _KEY})
    assert added.returncode == 0, added.stderr
    assert "could not be reached" in added.stderr
    assert "every call of this EHR gets 401" in added.stderr
    everything = b"".join(p.read_bytes() for p in (tmp_path / "db").iterdir())
    assert b"sealed:" in everything
    assert b"hook-s3cret" not in everything
    listed = command("ehr", "list", "--json", env=environment | {"CLOZAPINE_CDS_SECRETS_KEY": _KEY})
    [north] = json.loads(listed.stdout)
    assert (north["name"], north["enabled"], north["from"]) == ("north", True, "database")
    assert "hook-s3cret" not in listed.stdout
    engine = engine_for(environment["CLOZAPINE_CDS_DATABASE_URL"])
    site = Directory(_settings(environment, _KEY), engine).named("north")
    assert site is not None
    assert site.options.webhook_secret.get_secret_value() == "hook-s3cret"
    engine.dispose()


@pytest.mark.parametrize(
    ("stored", "key", "says"),
    [
        (None, "", "CLOZAPINE_CDS_SECRETS_KEY is not set"),
        (None, "z" * 32, "sealed with another key"),
        ("**********", _KEY, "add the EHR again with --replace"),
    ],
)
def test_a_secret_that_cannot_be_read_signs_nothing(
    environment: dict[str, str], stored: str | None, key: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_for(environment["CLOZAPINE_CDS_DATABASE_URL"])
    ehr = {
        "name": "north", "issuer": "https://n.example", "jwks_uri": "https://n.example/jwks", "webhook": "https://e.example/x",
        "webhook_secret": stored or Secrets(_KEY).seal("hook-s3cret"),
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO ehr_site (name, added_at, settings) VALUES ('north', :at, :settings)"),
            {"at": datetime.now(UTC).replace(tzinfo=None).isoformat(" "), "settings": json.dumps(ehr)},
        )
    directory = Directory(_settings(environment, key), engine)
    site = directory.named("north")
    assert site is not None, "its calls are answered all the same"
    assert site.channels == ()
    assert says in caplog.text
    caplog.clear()
    directory.reload()
    assert caplog.text == "", "a fault that lasts is said once"
    engine.dispose()


def test_a_key_that_does_not_fit_is_no_secret() -> None:
    with pytest.raises(SecretError):
        Secrets("a" * 32).open(Secrets("b" * 32).seal("x"))


def test_an_ehr_is_disabled_enabled_and_removed(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "north.toml").write_text(_TABLE.partition("webhook =")[0])
    assert (
        command("ehr", "add", "north", "--from", str(tmp_path / "north.toml"), env=environment).returncode
        == 0
    )
    engine = engine_for(environment["CLOZAPINE_CDS_DATABASE_URL"])
    directory = Directory(_settings(environment, _KEY), engine)
    assert set(directory.by_name) == {"north"}
    for act, known in (("disable", set()), ("enable", {"north"}), ("remove", set())):
        done = command("ehr", act, "north", env=environment)
        assert done.returncode == 0, done.stderr
        directory.reload()
        assert set(directory.by_name) == known, act
    assert stored_ehrs(engine) == []
    gone = command("ehr", "remove", "north", env=environment)
    assert (gone.returncode, "there is no stored EHR named 'north'" in gone.stderr) == (3, True)
    engine.dispose()


def test_files_and_databases_are_their_owners_alone(environment: dict[str, str], tmp_path: Path) -> None:
    database = tmp_path / "db/ehrs.db"
    database.chmod(0o644)  # as a version before made it
    target, out = tmp_path / "audit.ndjson", tmp_path / "out"
    target.touch(0o644)
    open_mode = environment | {"CLOZAPINE_CDS_AUTH": "off"}
    assert command("audit", "export", str(target), env=open_mode).returncode == 0
    done = command("registry", "export", str(out), env=open_mode)
    assert done.returncode == 0, done.stderr
    files = [database, target, *out.iterdir()]
    assert len(files) == 7
    assert {oct(f.stat().st_mode & 0o777) for f in files} == {"0o600"}
    assert {oct(f.stat().st_mode & 0o777) for f in (out, database.parent)} == {"0o700"}


def test_what_is_printed_is_data(environment: dict[str, str]) -> None:
    engine = engine_for(environment["CLOZAPINE_CDS_DATABASE_URL"])
    register(engine, "default", [facts("[/x]", anc(3200, 31)), facts("[red]:warning:", anc(3200, 31))])
    engine.dispose()
    open_mode = environment | {"CLOZAPINE_CDS_AUTH": "off"}
    for arguments in (("list",), ("show", "[/x]"), ("unenrol", "[/x]"), ("enrol", "[red]:warning:")):
        done = command("registry", *arguments, env=open_mode)
        assert done.returncode == 0, done.stderr
        assert arguments[-1] in done.stdout or "[/x]" in done.stdout
    assert "[red]:warning:" in done.stdout


def test_every_console_of_the_commands_takes_brackets_for_brackets() -> None:
    folder = Path(__file__).parents[2] / "service/cli"
    made = {
        f"{path.name}: {line.strip()}"
        for path in folder.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"(?<!stderr=True)Console\(", line) and "stderr=True" not in line
    }
    assert made == {"console.py: return Console(markup=False, emoji=False, highlight=False)"}
