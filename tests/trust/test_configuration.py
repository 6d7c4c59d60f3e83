"""EHRs in the configuration, secrets in files: wrong ones are named, secrets are never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm

from service.options.options import OF_ONE_EHR, SiteOptions
from service.site.ehrs import EhrSettings
from service.site.load import load_settings
from service.site.settings import Settings, SettingsError
from service.site.trust import require_ehrs
from tests.signing import Signer

_NORTH: dict[str, Any] = {
    "name": "north",
    "issuer": "https://ehr.north.example",
    "jwks_uri": "https://ehr.north.example/jwks",
    "fhir_servers": ["https://ehr.north.example/fhir"],
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("CLOZAPINE_CDS_"):
            monkeypatch.delenv(name)


def test_the_file_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "service.toml"
    file.write_text(
        """
auth = "required"
base_url = "https://cds.hospital.example"
[[ehr]]
name = "north"
issuer = "https://ehr.north.example"              # the JWT's iss
jwks_uri = "https://ehr.north.example/jwks"       # or jwks_file = "north-jwks.json"
fhir_servers = ["https://ehr.north.example/fhir"] # nothing else is ever called
policy = "us-label-2025"
time_zone = "America/New_York"
enrol = true            # remember patients on clozapine
shadow = false          # evaluate, record, show nothing
snooze_days = 7
profile = "epic"        # generic | epic | oracle | athena | sandbox: what the client can show and apply
"""
    )
    monkeypatch.setenv("CLOZAPINE_CDS_CONFIG", str(file))
    settings = load_settings()
    settings.check_listening("0.0.0.0")
    require_ehrs(settings)
    site = settings.site_of(settings.all_ehrs[0])
    assert (site.name, str(site.zone), site.selection_behavior) == ("north", "America/New_York", "any")
    assert site.options.fhir_servers == ("https://ehr.north.example/fhir",)


def test_ehrs_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOZAPINE_CDS_EHRS", json.dumps([_NORTH]))
    assert [e.name for e in load_settings().all_ehrs] == ["north"]


def _private() -> dict[str, Any]:
    signer = Signer()
    return ECAlgorithm.to_jwk(signer.keys[signer.kid], as_dict=True) | {"kid": "x"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "ehr.0.name"),
        ({"name": "north wing"}, "ehr.0.name"),
        ({"issuer": ""}, "ehr.0.issuer"),
        ({"jwks_uri": ""}, "exactly one of jwks_uri, jwks_file and keys; found none"),
        ({"keys": Signer().jwks()["keys"]}, "found jwks_uri and keys"),
        ({"jwks_uri": "http://ehr.north.example/jwks"}, "ehr.0.jwks_uri.*https"),
        (
            {"jwks_uri": "https://user:secret@ehr.north.example/jwks"},
            "ehr.0.jwks_uri.*password is not accepted",
        ),
        ({"jwks_uri": "", "jwks_file": "/nowhere.json"}, "ehr.0.jwks_file.*/nowhere.json"),
        ({"jwks_uri": "", "keys": [_private()]}, "ehr.0.keys.*private key"),
        ({"jwks_uri": "", "keys": [{"kty": "oct", "kid": "x", "k": "c2VjcmV0"}]}, "ehr.0.keys.*private key"),
        ({"fhir_servers": ["http://ehr.north.example/fhir"]}, "ehr.0.fhir_servers.*https"),
        ({"algorithms": ["HS256"]}, "ehr.0.algorithms"),
        ({"algorithms": ["none"]}, "ehr.0.algorithms"),
        ({"algorithms": []}, "ehr.0.algorithms"),
        ({"token_seconds": 3600}, "ehr.0.token_seconds"),
        ({"profile": "cerner"}, "ehr.0.profile"),
        ({"errors": "silent"}, "ehr.0.errors"),
        ({"hooks": ["order-dispatch"]}, "ehr.0.hooks.*order-dispatch"),
        ({"codes": {"NEUT": "anc"}}, "ehr.0.codes"),
        (
            {"shadow_codes": ["weight-gian"]},
            "ehr: north: shadow_codes: 'weight-gian' .*did you mean 'weight-gain'",
        ),
        ({"snooze": 3}, "ehr.0.snooze: there is no such setting"),
        ({"calls_per_second": 0}, "ehr.0.calls_per_second"),
    ],
)
def test_wrong_ehrs_are_named(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str) -> None:
    monkeypatch.setenv("CLOZAPINE_CDS_EHR", json.dumps([_NORTH | change]))
    with pytest.raises(SettingsError, match=says) as error:
        load_settings()
    assert "secret" not in str(error.value)
    assert "c2VjcmV0" not in str(error.value)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({}, "two EHRs are named 'north'"),
        ({"name": "south"}, "'south' has the issuer of another EHR"),
        ({"name": "south", "tenant": "t"}, "give every one of them a tenant"),
        ({"name": "south", "issuer": "https://s.example", "policy": "mars"}, "ehr south: policy: 'mars'"),
        ({"name": "south", "issuer": "https://s.example", "time_zone": "Mars"}, "ehr south: .*time zone"),
    ],
)
def test_ehrs_that_contradict_each_other(second: dict[str, Any], says: str) -> None:
    settings = Settings(auth="required", base_url="https://cds.example", ehr=[_NORTH, _NORTH | second])
    with pytest.raises(SettingsError, match=says):
        settings.check_listening("127.0.0.1")


def test_two_policies_with_one_id(tmp_path: Path) -> None:
    tables = []
    for name in ("north", "south"):
        file = tmp_path / f"{name}.toml"
        file.write_text(
            f'id = "ours"\ntitle = "{name}"\njurisdiction = "US"\ninherits = "us-label-2025"\n'
            'valid_from = 2026-01-01\nsummary = "x"\n'
        )
        tables.append(_NORTH | {"name": name, "issuer": f"https://{name}.example", "policy": str(file)})
    Settings(auth="required", ehr=[tables[0]]).check_ehrs()
    with pytest.raises(SettingsError, match="ehr south: policy"):
        Settings(auth="required", ehr=tables).check_ehrs()


def test_the_sandbox_s_public_private_key_is_trusted_on_loopback_only() -> None:
    sandbox = {
        "name": "sandbox",
        "issuer": "https://sandbox.cds-hooks.org",
        "jwks_uri": "https://sandbox.cds-hooks.org/.well-known/jwks.json",
    }
    Settings(auth="required", ehr=[sandbox]).check_listening("127.0.0.1")
    for table in (sandbox, sandbox | {"issuer": "https://ehr.example"}):
        with pytest.raises(SettingsError, match="private key"):
            Settings(auth="required", base_url="https://cds.example", ehr=[table]).check_listening(
                "127.0.0.1"
            )


def test_open_mode_has_one_site() -> None:
    assert Settings().site().name == "default"
    assert Settings(ehr=[_NORTH]).site().name == "north"
    own = {"sweep": "0 6 * * 1", "fhir_servers": ["https://north.example/fhir"], "write_back": ["Task"]}
    only = Settings(ehr=[_NORTH | own]).site()
    assert (only.options.sweep, only.name) == ("0 6 * * 1", "north")
    assert only.channels == ("Task",)
    south = _NORTH | {"name": "south", "issuer": "https://s.example"}
    with pytest.raises(SettingsError, match="off serves one site"):
        Settings(ehr=[_NORTH, south]).check_listening("127.0.0.1")


def test_authentication_needs_an_address_and_somebody_to_call(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        Settings(auth="required", ehr=[_NORTH]).check_listening("0.0.0.0")
    with pytest.raises(SettingsError, match=r"base_url.*https"):
        Settings(auth="required", ehr=[_NORTH], base_url="http://cds.example").check_listening("0.0.0.0")
    url = f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(SettingsError, match="ehr: auth = required"):
        require_ehrs(Settings(auth="required", base_url="https://cds.example", database_url=url))


def test_a_secret_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "database-url"
    file.write_text("postgresql://cds:hunter2@db.example/cds\n")
    monkeypatch.setenv("CLOZAPINE_CDS_DATABASE_URL_FILE", str(file))
    settings = load_settings()
    assert settings.database_url == "postgresql://cds:hunter2@db.example/cds"
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter2" not in shown
    monkeypatch.setenv("CLOZAPINE_CDS_DATABASE_URL", "sqlite:///x.db")
    with pytest.raises(SettingsError, match="DATABASE_URL is set as well"):
        load_settings()


def test_ehrs_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ehrs.json"
    file.write_text(json.dumps([_NORTH]))
    monkeypatch.setenv("CLOZAPINE_CDS_EHRS_FILE", str(file))
    assert [e.name for e in load_settings().all_ehrs] == ["north"]
    file.write_text("[oops")
    with pytest.raises(SettingsError, match="EHRS_FILE"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL_FILE", "/nowhere/secret", "/nowhere/secret cannot be read"),
        ("DATABSE_URL_FILE", "x", "there is no such setting"),
        ("DATABASE_URL", "hunter2 is not a URL", "database_url: a database URL is expected"),
        ("PRIVATE_NETWORKS", '["10.0.0.0/33"]', "private_networks"),
        ("CA_FILE", "/nowhere/ca.pem", "ca_file: there is no file"),
        ("CALL_SECONDS", "0", "call_seconds"),
    ],
)
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"CLOZAPINE_CDS_{name}", value)
    with pytest.raises(SettingsError, match=says) as error:
        load_settings()
    assert "hunter2" not in str(error.value)


_INHERITED: dict[str, tuple[Any, Any]] = {
    "policy": ("uk-smpc", "ca-2020"), "time_zone": ("Europe/London", "America/Toronto"), "fhir_deadline_ms": (700, 900), "profile": ("epic", "oracle"),
    "errors": ("status", "card"), "card_limit": (5, 6), "shadow": (True, False), "shadow_codes": (("weight-gain",), ()), "smoke_free_wards": (True, False),
    "enrol": (False, True), "snooze_days": (0, 3), "pathway": (True, False), "not_sent": (("statements",), ()), "counts_elsewhere": ("the clozapine clinic", ""), "clozapine_brand": ("Clozaril", ""), "country": ("GB", "CH"), "calls_per_second": (7.0, 8.0),
    "hooks": (("order-sign",), ("patient-view", "order-sign")), "codes": ({"urn:x|1": "anc"}, {}), "units": ({"urn:x|1": "10*3/uL"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", _INHERITED)
def test_the_general_settings_are_the_defaults_of_every_ehr(name: str) -> None:
    general, own = _INHERITED[name]

    def site(**ehr: Any) -> Any:
        settings = Settings(
            auth="required", base_url="https://cds.example", ehr=[_NORTH | ehr], **{name: general}
        )
        return settings.site_of(settings.all_ehrs[0])

    def of(value: Any) -> Any:
        return Settings(site_name="north", **{name: value}).site()

    def seen(of: Any) -> Any:
        options = of.options.model_dump(exclude={"fhir_servers", "calls_per_second"})
        return of.policy, of.zone, of.maps, options

    assert seen(site()) == seen(of(general))
    assert seen(site(**{name: own})) == seen(of(own))
    if name == "calls_per_second":
        rates = site().options.calls_per_second, site(calls_per_second=own).options.calls_per_second
        assert rates == (7.0, 8.0)


def test_how_patients_are_watched_is_inherited_too() -> None:
    general = {
        "sweep": "0 4 * * *",
        "due_again_days": 3,
        "write_back": ("Task",),
        "webhook": "https://events.example/x",
        "webhook_secret": "s",
    }
    settings = Settings(
        auth="required",
        base_url="https://cds.example",
        ehr=[
            _NORTH,
            _NORTH | {"name": "south", "issuer": "https://s.example", "sweep": "", "write_back": ()},
        ],
        **general,
    )  # type: ignore[arg-type]
    north, south = (settings.site_of(ehr) for ehr in settings.all_ehrs)
    own = north.options
    assert (own.sweep, north.due_again_after.days, own.write_back, own.webhook) == (
        "0 4 * * *",
        3,
        ("Task",),
        "https://events.example/x",
    )
    own = south.options
    assert (own.sweep, own.write_back, own.webhook) == ("", (), "https://events.example/x")
    assert north.fhir_server == "https://ehr.north.example/fhir"


def test_every_option_is_inherited_or_one_ehrs_own() -> None:
    watched = {"sweep", "due_again_days", "write_back", "webhook", "webhook_secret"}
    watched |= {"subscriptions", "subscription_criteria", "subscription_topic", "subscription_payload"}
    assert set(SiteOptions.model_fields) == set(_INHERITED) | watched | OF_ONE_EHR
    assert set(SiteOptions.model_fields) <= set(EhrSettings.model_fields) & set(Settings.model_fields)


def test_what_an_ehr_leaves_null_is_as_the_general_settings_have_it() -> None:
    settings = Settings(card_limit=4, ehr=[_NORTH | {"card_limit": None, "hooks": None}])  # type: ignore[list-item]
    assert settings.site().options.card_limit == 4


def test_an_address_of_one_ehr_is_nobody_elses() -> None:
    settings = Settings(fhir_servers=["https://ehr.south.example/fhir"], ehr=[_NORTH])  # type: ignore[list-item]
    with pytest.raises(
        SettingsError, match=r"^fhir_servers: it belongs to one EHR; write it into its \[\[ehr\]\] table"
    ):
        settings.check_ehrs()
