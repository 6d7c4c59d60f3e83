"""Each fact has one home: what once was said twice, or nowhere, and so came out wrong. One test for each thing that was tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from service.alerts.evaluate import evaluate
from service.alerts.knowledge.classes import classes as drug_classes
from service.alerts.knowledge.drugs import Drug, drugs, names_of, wrong_drugs
from service.alerts.policy.check import find_policy
from service.cli.main import app
from service.site.load import load_settings
from service.site.settings import Settings, SettingsError
from tests.alerts.vignette import facts_of
from tests.data import NOW

ROOT = Path(__file__).parents[1]
_HEAD = 'id = "ours"\ntitle = "Ours"\njurisdiction = "US"\ninherits = "us-label-2025"\nvalid_from = 2026-01-01\nsummary = "Ours."\n'
_EHR = {"name": "north", "issuer": "https://n.example", "jwks_uri": "https://n.example/jwks"}


def _policy(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ours.toml"
    path.write_text(_HEAD + text, encoding="utf-8")
    return path


def _said(*command: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["policy", *command], env={"COLUMNS": "400", "NO_COLOR": "1"})
    return done.exit_code, re.sub(r"\s+", " ", done.output)


def test_a_sites_four_changes_are_four_differences(tmp_path: Path) -> None:
    """A daily maximum, a toxic level, a QTc and the organ tests were no topic of the diff: "nothing changes for a patient"."""
    path = _policy(
        tmp_path,
        '[dosing]\ndaily_maximum = { value = 600, unit = "mg/d", source = "SERVICE" }\n'
        '[levels]\ntoxic = { value = 800, unit = "ng/mL", source = "SERVICE" }\n'
        '[results]\nqtc_critical = { value = 480, unit = "ms", source = "SERVICE" }\n'
        '[[monitoring]]\nid = "ecg"\ntitle = "ECG"\nkinds = ["ecg"]\nsource = "SERVICE"\n',
    )
    _, said = _said("diff", "us-label-2025", str(path))
    for before, after in (("900 mg", "600 mg"), ("1000 ng/mL", "800 ng/mL"), ("500 ms", "480 ms")):
        assert before in said
        assert after in said
    for test in (t.id for t in find_policy("us-label-2025").monitoring):
        assert f"monitoring.{test}" in said
    assert "othing changes" not in said
    assert "othing changes" in _said("diff", "us-label-2025", "us-label-2025")[1]


def test_a_number_stands_once_so_that_the_card_cannot_contradict_itself(tmp_path: Path) -> None:
    """CRP 90 mg/L under a limit of 80: "stop now", and below it "stop when over 100"."""
    path = _policy(tmp_path, '[myocarditis]\ncrp_stop = { value = 80, unit = "mg/L", source = "SERVICE" }\n')
    row = {
        "on": ["clozapine 300 mg since 20 d"],
        "counts": ["ANC 3.0 10*3/uL 1 d ago", "CRP 90 mg/L 1 d ago"],
    }
    (found,) = [
        f for f in evaluate(facts_of(row), find_policy(path), NOW) if f.code == "myocarditis-suspected"
    ]
    said = " ".join((found.summary, *found.why, *found.policy_says, *found.suggested))
    assert "80 mg/L" in said
    assert "100 mg/L" not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[myocarditis]\ncrp_stop = { value = 8, unit = "mg/dL", source = "SERVICE" }\n', "myocarditis.crp_stop.*expected 'mg/L'"),
        ('[myocarditis]\ncrp_stop = { value = -5, unit = "mg/L", source = "SERVICE" }\n', "myocarditis.crp_stop.*expected 20 to 300 mg/L"),
        ('[dosing]\ndaily_maximum = { value = 9, unit = "mg/d", source = "SERVICE" }\n', "dosing.daily_maximum.*expected 100 to 1200 mg/d"),
    ],
)  # fmt: skip
def test_a_foreign_unit_and_a_value_out_of_bounds_are_refused(tmp_path: Path, text: str, why: str) -> None:
    """They were "sound", and a CRP of 9 mg/L stopped clozapine."""
    status, said = _said("validate", str(_policy(tmp_path, text)))
    assert status != 0
    assert re.search(why, said), said


def test_half_a_value_does_not_keep_the_citation_of_another(tmp_path: Path) -> None:
    """A number without a source kept the shipped citation, and counted as confirmed."""
    status, said = _said("validate", str(_policy(tmp_path, "[myocarditis]\ncrp_stop = { value = 80 }\n")))
    assert status != 0
    assert "myocarditis.crp_stop" in said
    assert "without its source" in said


def test_brands_under_a_drug_that_is_one_letter_off_are_refused() -> None:
    """They were "recognised, no class": no card, and every test was green."""
    known = drugs()
    moved = {
        "omeprazole": replace(known["omeprazole"], names=()),
        "omeprazol": Drug(names=known["omeprazole"].names, atc=known["omeprazole"].atc),
    }
    wrong = " ".join(wrong_drugs({**known, **moved}, tuple(drug_classes())))
    assert "omeprazol: expected classes" in wrong
    assert "is 'omeprazole' meant?" in wrong


def test_every_drug_with_a_brand_leads_to_a_class_or_says_why_not() -> None:
    silent = [
        d for d, record in drugs().items() if names_of(d) and not record.classes and not record.no_class
    ]
    assert silent == []


def test_shadow_in_general_is_shadow_at_an_ehr_that_does_not_speak_of_it() -> None:
    """With one ``[[ehr]]`` table the site was not in shadow, and nothing said so."""
    assert Settings(shadow=True, ehr=[_EHR]).site().options.shadow  # type: ignore[list-item]
    assert not Settings(shadow=True, ehr=[_EHR | {"shadow": False}]).site().options.shadow  # type: ignore[list-item]


@pytest.mark.parametrize("where", ["general", "ehr"])
def test_a_finding_code_that_does_not_exist_is_refused(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``weight-gian`` was accepted and silenced nothing."""
    slip = {"shadow_codes": ["weight-gian"]}
    with pytest.raises(SettingsError, match=r"weight-gian.*did you mean 'weight-gain'"):
        load_settings(**(slip if where == "general" else {"ehr": [_EHR | slip]}))


_CITATION = re.compile(r"clinical\.md|cds-hooks(?:\.md| checklist)|contract \"")
_DOCUMENT = re.compile(r"(?<![\w/:])[\w./-]*[\w-]\.md\b")


def test_who_clones_can_read_what_is_cited() -> None:
    """ "clinical.md 3.1" stood in 80 files, and the specification in none (that sections exist: conformance/test_citations.py)."""
    for name in ("clinical.md", "cds-hooks.md", "contract.md"):
        assert (ROOT / "docs" / "spec" / name).is_file()
    sources = [
        p
        for folder in ("service", "cds_hooks", "docs", "tools", "bench")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".py", ".md", ".toml", ".html")
    ]
    texts = {p: p.read_text(encoding="utf-8") for p in sources}
    assert sum(bool(_CITATION.search(text)) for text in texts.values()) > 60
    here = {p.name for p in ROOT.rglob("*.md") if ".venv" not in p.parts}
    outside = {
        (str(p.relative_to(ROOT)), name)
        for p, text in texts.items()
        for name in _DOCUMENT.findall(text)
        if name.rpartition("/")[2] not in here
    }
    assert outside == set()
