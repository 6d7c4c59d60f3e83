"""A change of what all policies share does not rewrite the past: each day is judged by the values of its time."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.alerts.evaluate import evaluate
from service.alerts.policy import policy as policies
from service.alerts.policy.diff import policy_diff
from service.alerts.policy.policy import PolicyError, load_policy, policy_by_id, shared_versions
from service.alerts.policy.sheet import in_force
from service.backtest.replay import Protocol
from service.web import pages
from tests.alerts.vignette import facts_of
from tests.backtest.export import LABEL, alerts, anc, day, order, patient, run, write
from tests.data import NOW
from tools.generated import policy_page

#: From March on a first dose of 50 mg is allowed.
_LATER = """
id = "common-2026-03-01"
inherits = "common"
valid_from = 2026-03-01

[dosing]
first_day_maximum = { value = 50, unit = "mg", source = "US-PI", section = "2.2" }
"""
_TOO_HIGH = ("dose-start-too-high", "critical")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shipped files, to which a test may add."""
    folder = tmp_path / "files"
    shutil.copytree(Path(str(policies.POLICY_FILES)), folder)
    monkeypatch.setattr(policies, "POLICY_FILES", folder)
    policy_by_id.cache_clear()
    yield folder
    policy_by_id.cache_clear()


def _export(folder: Path) -> Path:
    """Two patients start at 50 mg, with a count of the day: one in February, one in March."""
    started = [("p1", "2026-02-10"), ("p2", "2026-03-10")]
    resources: list[dict[str, Any]] = []
    for who, on in started:
        resources += [patient(who), order(f"o-{who}", on, mg=50, who=who), anc(f"c-{who}", 3.0, on, who=who)]
    return write(folder, resources)


def test_the_page_says_from_which_day_on_shared_values_hold(files: Path) -> None:
    assert "share" not in in_force(load_policy(files / f"{LABEL}.toml"))
    (files / "common-2026-03-01.toml").write_text(_LATER)
    changed = load_policy(files / f"{LABEL}.toml")
    for page in (policy_page(changed), pages.policy_page(changed)):
        assert "share as it holds from 2026-03-01 on" in page


def test_a_second_version_leaves_the_findings_before_its_day_as_they_were(
    files: Path, tmp_path: Path
) -> None:
    export = _export(tmp_path / "export")
    as_it_was = (Protocol(LABEL, load_policy(files / f"{LABEL}.toml")),)
    (files / "common-2026-03-01.toml").write_text(_LATER)
    changed = (Protocol(LABEL, load_policy(files / f"{LABEL}.toml")),)
    assert alerts(run(export, protocols=as_it_was))[_TOO_HIGH] == 2
    assert alerts(run(export, protocols=changed))[_TOO_HIGH] == 1
    until = {"last": day("2026-02-28")}
    before = run(export, protocols=changed, **until)
    assert before.alerts == run(export, protocols=as_it_was, **until).alerts
    assert alerts(before)[_TOO_HIGH] == 1


def test_several_processes_know_the_earlier_version_too(files: Path, tmp_path: Path) -> None:
    (files / "common-2026-03-01.toml").write_text(_LATER)
    sent = pickle.loads(pickle.dumps(load_policy(files / f"{LABEL}.toml")))
    limits = [
        sent.on(day(d)).dosing.first_day_maximum.value for d in ("2020-01-01", "2026-02-28", "2026-03-01")
    ]
    assert limits == [25, 25, 50]


def test_a_question_of_today_is_judged_by_what_is_shared_today(files: Path) -> None:
    (files / "common-2026-03-01.toml").write_text(_LATER)
    (files / "common-2026-11-01.toml").write_text(
        _LATER.replace("2026-03-01", "2026-11-01").replace("value = 50", "value = 37.5").replace('"common"', '"common-2026-03-01"')
    )  # fmt: skip
    (files / "common-2027-01-01.toml").write_text(_LATER.replace("2026-03-01", "2027-01-01").replace("value = 50", "value = 75"))  # fmt: skip
    assert [name for name, _ in shared_versions()] == [
        "common-2027-01-01", "common-2026-11-01", "common-2026-03-01", "common",
    ]  # fmt: skip
    policy = load_policy(files / f"{LABEL}.toml")
    facts = facts_of({"draft": ["clozapine 50 mg"], "counts": ["ANC 3000 /uL 1 d ago"]})
    assert "dose-start-too-high" in {f.code for f in evaluate(facts, policy, NOW)}
    assert "dose-start-too-high" in {f.code for f in evaluate(facts, policy.on(day("2026-12-31")), NOW)}
    spring = NOW.replace(month=6)
    assert "dose-start-too-high" not in {f.code for f in evaluate(facts, policy, spring)}


def test_a_site_s_own_file_knows_the_versions_and_its_own_number_wins(files: Path, tmp_path: Path) -> None:
    (files / "common-2026-03-01.toml").write_text(_LATER)
    ours = tmp_path / "ours.toml"
    ours.write_text('id = "ours"\ntitle = "Ours"\ninherits = "ca-2020"\n')
    limits = [
        load_policy(ours).on(day(d)).dosing.first_day_maximum.value for d in ("2026-02-28", "2026-03-01")
    ]
    assert limits == [25, 50]
    ours.write_text(ours.read_text() + '[dosing]\nfirst_day_maximum = { value = 12.5, unit = "mg", source = "UK-SmPC" }\n')  # fmt: skip
    limits = [
        load_policy(ours).on(day(d)).dosing.first_day_maximum.value for d in ("2026-02-28", "2026-03-01")
    ]
    assert limits == [12.5, 12.5]


def test_versions_are_no_difference_between_two_policies(files: Path) -> None:
    as_it_was = load_policy(files / f"{LABEL}.toml")
    (files / "common-2026-03-01.toml").write_text(_LATER)
    found = policy_diff(as_it_was, load_policy(files / f"{LABEL}.toml"))
    assert [(c.situation, c.before, c.after) for c in found] == [("day 1", "at most 25 mg", "at most 50 mg")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_LATER.replace("valid_from = 2026-03-01\n", ""), "common-2026-03-01.toml: valid_from: the day"),
        (_LATER.replace('"common"', '"comon"'), "unknown policy 'comon', expected one of common-2026-03-01, common"),
    ],
)  # fmt: skip
def test_a_version_that_cannot_be_used_is_refused(files: Path, text: str, says: str) -> None:
    (files / "common-2026-03-01.toml").write_text(text)
    with pytest.raises(PolicyError, match=says):
        load_policy(files / f"{LABEL}.toml")


def test_no_policy_file_writes_its_own_past(tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text(f'id = "ours"\ninherits = "{LABEL}"\nshared_from = 2020-01-01\n')
    with pytest.raises(PolicyError, match="shared_from: is no value of a policy file"):
        load_policy(ours)
