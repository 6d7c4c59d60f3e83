"""A site's options have one home: one line more, and every part of the service has the new option."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.judge import SiteOptions as JudgeOptions
from service.options.options import AnswerOptions, Links, SiteOptions
from service.site.settings import Settings
from tests.data import NOW, anc, bundle, call, on_clozapine, prefetch

_ROOT = Path(__file__).parents[2]
_HOME = "service/options/options.py"
_LINE = "    card_limit: int = Field(default=10, ge=1, le=10)\n"
_USED = """
import asyncio, json, os, sys
from datetime import datetime
import httpx, orjson
from service.alerts import evaluate
from msgspec.structs import replace
from service.alerts.case import remembered
from service.alerts.rules.asked import RuleBook
from service.judge import judge
from service.judge.inquiry import read_inquiry
from service.options.weighed import Weighed
from service.hooks.site_facts import site_facts
from service.site.settings import Settings
from service.web.app import create_app

given = json.loads(sys.stdin.read())
now = datetime.fromisoformat(given["now"])
body = json.dumps(given["request"]).encode()
seen = []

def rule(case):
    seen.append(case.practice.night_rounds)
    return ()

evaluate.RULEBOOK = RuleBook((rule,))

def said(ask):
    seen.clear()
    ask()
    return seen[-1] if seen else None

north = {"name": "north", "issuer": "https://n.example", "jwks_uri": "https://n.example/jwks"}
south = {"name": "south", "issuer": "https://s.example", "jwks_uri": "https://s.example/jwks", "night_rounds": False}
settings = Settings(auth="required", base_url="https://cds.example", night_rounds=True, ehr=[north, south])
inherits, own = [settings.site_of(ehr) for ehr in settings.all_ehrs]
asked = read_inquiry(body, None)
facts = site_facts(inherits, asked.gathered, patient_id=asked.patient_id, hook=asked.hook, orders=asked.orders)

async def call():
    open_mode = Settings(night_rounds=True, database_url=os.environ["DATABASE"])
    app = create_app(open_mode, clock=lambda: now)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client:
        answer = await client.post(f"/cds-services/clozapine-{asked.hook}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text

print(json.dumps({
    "inherited": inherits.options.night_rounds,
    "own": own.options.night_rounds,
    "a hook call": said(lambda: asyncio.run(call())),
    "Python, a site": said(lambda: judge(body, as_of=now, site=inherits)),
    "Python, an option": said(lambda: judge(body, as_of=now, site={"night_rounds": True})),
    "facts read already": said(lambda: Weighed(facts, inherits, now).findings),
    "the sweep": said(lambda: Weighed(replace(remembered.load(remembered.dump(facts)), hook="sweep"), inherits, now).findings),
}), flush=True)
os._exit(0)
"""


@pytest.fixture
def with_one_line_more(tmp_path: Path) -> Path:
    """The sources, linked, but for the home of the options, which has one option more."""
    for folder in ("cds_hooks", "service"):
        _link(_ROOT / folder, tmp_path / folder)
    home = tmp_path / _HOME
    text = home.read_text()
    assert text.count(_LINE) == 1
    home.unlink()
    home.write_text(text.replace(_LINE, f"{_LINE}    night_rounds: bool = False\n"))
    return tmp_path


def _link(source: Path, target: Path) -> None:
    """A folder of links; the way to the home of the options is made of real folders."""
    target.mkdir()
    for child in source.iterdir():
        if child.name == "__pycache__":
            continue
        if child.is_dir() and _HOME.startswith(str(child.relative_to(_ROOT))):
            _link(child, target / child.name)
        else:
            (target / child.name).symlink_to(child)


def test_one_line_adds_an_option_everywhere(with_one_line_more: Path) -> None:
    request = call("patient-view", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())))
    done = subprocess.run(
        [sys.executable, "-c", _USED],
        cwd=with_one_line_more,
        input=json.dumps({"now": NOW.isoformat(), "request": request}),
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("CLOZAPINE_CDS_")},
            "PYTHONPATH": str(with_one_line_more),
            "DATABASE": f"sqlite:///{with_one_line_more}/cds.db",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "inherited": True,
        "own": False,
        "a hook call": True,
        "Python, a site": True,
        "Python, an option": True,
        "facts read already": True,
        "the sweep": True,
    }


def test_the_python_face_names_the_options_that_bear_on_an_answer() -> None:
    assert set(JudgeOptions.__annotations__) == {*AnswerOptions.model_fields, *Links.model_fields}


def test_every_option_is_documented() -> None:
    pages = "".join(p.read_text() for p in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))))
    assert [
        name for name in SiteOptions.model_fields if f"`{name}" not in pages and f"{name} =" not in pages
    ] == []


def test_options_are_not_facts_of_a_patient() -> None:
    from service.alerts.facts.patient import PatientSnapshot

    assert set(SiteOptions.model_fields).isdisjoint(PatientSnapshot.__struct_fields__)


def test_shadow_of_the_general_settings_reaches_an_ehr_that_does_not_speak_of_it() -> None:
    ehr = {"name": "north", "issuer": "https://n.example", "jwks_uri": "https://n.example/jwks"}
    settings = Settings(shadow=True, ehr=[ehr])  # type: ignore[list-item]
    assert settings.site().options.shadow
    assert settings.site().channels == ()
    assert not Settings(shadow=True, ehr=[ehr | {"shadow": False}]).site().options.shadow  # type: ignore[list-item]
