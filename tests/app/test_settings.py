"""Settings: environment over file; a wrong one stops the start with a sentence that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.site.load import load_settings
from service.site.settings import Settings, SettingsError

_NORTH: dict[str, Any] = {
    "name": "north",
    "issuer": "https://ehr.north.example",
    "jwks_uri": "https://ehr.north.example/jwks",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("CLOZAPINE_CDS_"):
            monkeypatch.delenv(name)


def test_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "service.toml"
    file.write_text('time_zone = "America/New_York"\nprofile = "epic"\n[codes]\n"urn:lab|NEUT" = "anc"\n')
    monkeypatch.setenv("CLOZAPINE_CDS_CONFIG", str(file))
    monkeypatch.setenv("CLOZAPINE_CDS_PROFILE", "oracle")
    settings = load_settings()
    assert (settings.time_zone, settings.profile) == ("America/New_York", "oracle")
    assert settings.site().maps.codes == {("urn:lab", "NEUT"): "anc"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TIME_ZONE", "Mars/Olympus", "time_zone"),
        ("BASE_URL", "cds.example", "base_url"),
        ("AUTH", "maybe", "auth"),
        ("FHIR_DEADLINE_MS", "soon", "fhir_deadline_ms"),
        ("FHIR_SERVERS", '["ehr.example"]', "fhir_servers"),
        ("NOT_SENT", '["statement"]', "not_sent.*statement"),
        ("NOT_SENT", '["counts"]', "not_sent.*counts"),
        ("CARD_LIMIT", "99", "card_limit"),
        ("SHADOW_CODES", '["weight-gian"]', "^shadow_codes: 'weight-gian' .*; did you mean 'weight-gain'"),
        ("PROFIL", "epic", "did you mean CLOZAPINE_CDS_PROFILE"),
        ("CONFIG", "/nowhere/service.toml", "CLOZAPINE_CDS_CONFIG"),
        ("CODES", '{"NEUT": "anc"}', "codes"),
        ("UNITS", '{"urn:lab|NEUT": "furlong"}', "^units: .*'furlong' is not a unit"),
        ("FINDING_SYSTEM", "", "^finding_system: an absolute URI"),
        ("ALLOWED_ORIGINS", '["https://ehr.example/"]', "^allowed_origins: .*without a slash"),
        ("FHIR_SERVERS", "https://ehr.example/fhir", "^CLOZAPINE_CDS_FHIR_SERVERS: JSON is expected"),
        ("PRIVATE_NETWORKS", '["zz"]', r"^private_networks\.0: "),
    ],
)
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"CLOZAPINE_CDS_{name}", value)
    with pytest.raises(SettingsError, match=says):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"), [("time_zoen = 'UTC'\n", "time_zone"), ("not toml", "configuration file")]
)
def test_wrong_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    file = tmp_path / "service.toml"
    file.write_text(text)
    monkeypatch.setenv("CLOZAPINE_CDS_CONFIG", str(file))
    with pytest.raises(SettingsError, match=says):
        load_settings()


def test_unknown_policy_names_the_known() -> None:
    with pytest.raises(SettingsError, match="us-label-2025"):
        Settings(policy="mars").site()


def test_a_site_s_own_policy_file(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(
        'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "x"\n'
    )
    assert Settings(policy=str(file)).site().policy.id == "ours"


def test_a_policy_with_a_gap_stops_the_start(tmp_path: Path) -> None:
    """A count in no band would be judged by nobody, and nothing would be said."""
    path = tmp_path / "ours.toml"
    band = 'says = "x"\nsource = "US-PI"\npopulation = "general"\nanalyte = "anc"\ntreatment = "continue"\n'
    path.write_text(
        'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "x"\n'
        f'[[bands]]\nname = "low"\ntitle = "Low"\nbelow = 1000\n{band}[[bands]]\nname = "normal"\ntitle = "Normal"\nat_least = 1500\n{band}'
    )
    with pytest.raises(SettingsError) as refusal:
        Settings(policy=str(path)).load_policy()
    assert "1000 to 1500" in str(refusal.value)
    assert "policy validate" in str(refusal.value)


def test_open_mode_is_for_loopback_only() -> None:
    Settings().check_listening("127.0.0.1")
    with pytest.raises(SettingsError, match="loopback"):
        Settings().check_listening("0.0.0.0")
    Settings(auth="required").check_listening("127.0.0.1")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"webhook": "https://hooks.example/cds"}, "webhook_secret"),
        ({"write_back": ("Task",)}, "fhir_servers"),
        ({"ehr": [_NORTH | {"codes": {"urn:lab|NEUT": "ancc"}}]}, "north.*did you mean 'anc'"),
        ({"ehr": [_NORTH | {"units": {"urn:lab|NEUT": "furlong"}}]}, "north.*furlong"),
        ({"ehr": [_NORTH | {"webhook": "https://hooks.example/cds"}]}, "north.*webhook_secret"),
    ],
)
def test_what_would_fail_later_stops_the_start(settings: dict[str, Any], says: str) -> None:
    """A traceback out of the scheduler, or results that nobody reads, would be found too late."""
    with pytest.raises(SettingsError, match=says):
        Settings(**settings).check_listening("127.0.0.1")
