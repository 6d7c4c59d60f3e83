"""The Python face: the answers of the service, from whatever form the question has, and nothing else has a say in them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service.alerts.policy.policy import load_policy, policy_by_id
from service.judge import JudgeError, Judgement, SiteOptions, judge
from service.site.settings import Settings
from tests.alerts.vignette import request_of, rows
from tests.data import (
    LOINC,
    NOW,
    PATIENT,
    anc,
    bundle,
    call,
    clozapine,
    dosage,
    observation,
    on_clozapine,
    order,
    prefetch,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(p for p in ROOT.glob("examples/*/request.json") if '"hookInstance"' in p.read_text())
SEVERE = next(p for p in EXAMPLES if "severe-neutropenia" in p.parent.name)
Json = dict[str, Any]


def codes(answer: Judgement) -> list[str]:
    return [f"{f.code} {f.severity}" for f in answer.findings]


def cards(answer: Judgement) -> Any:
    """As they are sent, but for what is new with every answer."""
    return without_uuids(msgspec.json.decode(msgspec.json.encode(answer.cards)))


def without_uuids(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_uuids(v) for k, v in value.items() if k != "uuid"}
    return [without_uuids(v) for v in value] if isinstance(value, list) else value


def as_bundle(request: Json) -> Json:
    """A request's whole record with its drafts."""
    entries = [e for v in request["prefetch"].values() if v for e in v.get("entry", [{"resource": v}])]
    drafts = request["context"].get("draftOrders", {}).get("entry", [])
    return {"resourceType": "Bundle", "type": "collection", "entry": [*entries, *drafts]}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.parent.name)
def test_the_answer_is_the_one_of_the_service(client: httpx.Client, path: Path) -> None:
    body = path.read_bytes()
    hook = json.loads(body)["hook"]
    sent = client.post(
        f"/cds-services/clozapine-{hook}", content=body, headers={"Content-Type": "application/json"}
    )
    assert cards(judge(body, as_of=NOW)) == without_uuids(sent.json()["cards"])


def test_bytes_text_and_dict_are_one_question() -> None:
    body = SEVERE.read_bytes()
    content = json.loads(body)
    answer = judge(body, as_of=NOW)
    assert codes(answer)[0] == "anc-severe-neutropenia critical"
    assert (answer.hook, answer.patient_id, answer.policy) == ("order-sign", PATIENT, "us-label-2025")
    for same in (body.decode(), content, b"\xef\xbb\xbf" + body, bytearray(body), "\ufeff" + body.decode()):
        other = judge(same, as_of=NOW)
        assert other.findings == answer.findings
        assert cards(other) == cards(answer)
    assert content == json.loads(body)


def test_a_bundle_is_the_record_and_its_drafts_are_asked_about() -> None:
    request = call("order-sign", prefetch(counts=bundle(anc(0.4))), clozapine())
    record = as_bundle(request)
    for question in (record, json.dumps(record), json.dumps(record).encode()):
        assert judge(question, hook="order-sign", as_of=NOW).findings[0].code == "anc-below-initiation"
    assert judge(record, hook="order-select", as_of=NOW).findings[0].code == "anc-below-initiation"
    assert "anc-missing critical" in codes(
        judge(as_bundle(call("order-sign", prefetch(), clozapine())), hook="order-sign", as_of=NOW)
    )


def test_what_could_not_be_read_is_in_the_answer() -> None:
    request = call("order-sign", prefetch(counts=bundle(anc())), clozapine(300))
    del request["prefetch"]["dispenses"]
    request["prefetch"]["counts"]["entry"].append({"resource": {"resourceType": "Observation", "status": 7}})
    answer = judge(request, as_of=NOW)
    assert answer.sources["dispenses"] == "unavailable"
    assert answer.sources["counts"] == "incomplete"
    assert answer.sources["allergies"] == "complete"
    assert [p.source for p in answer.read_problems] == ["counts"]
    paged = as_bundle(call("patient-view", prefetch(medications=bundle(on_clozapine()))))
    paged["link"] = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]
    told = judge(paged, hook="patient-view", as_of=NOW)
    assert set(told.sources.values()) == {"incomplete"}
    assert any("first page" in p.reason for p in told.read_problems)


_FEVER = bundle(observation("8310-5", 38.2, "Cel", 0.1, id="temp"))
_CALLED_OTHERWISE = [{"system": "urn:lab", "code": "NEUT"}]
_SCHIZOPHRENIA = {
    "resourceType": "Condition",
    "id": "scz",
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "code": {"text": "Schizophrenia"},
    "subject": {"reference": f"Patient/{PATIENT}"},
}
#: Two adequate trials.
_TRIED = bundle(
    *(
        order(
            f"{drug} oral tablet",
            id=drug,
            status="active",
            authoredOn="2026-05-01",
            dosageInstruction=dosage(mg),
        )
        for drug, mg in (("risperidone", 10), ("olanzapine", 20))
    )
)
#: Of each option a question whose answer it changes, and the value that does.
OPTIONS: dict[str, tuple[Json, Any]] = {
    "time_zone": (
        call(
            "order-sign",
            prefetch(
                medications=bundle(on_clozapine(60)),
                counts=bundle(anc() | {"effectiveDateTime": "2026-11-12T12:00:00Z"}),
            ),
            clozapine(300),
        ),
        "Pacific/Auckland",
    ),
    "codes": (
        call(
            "order-sign",
            prefetch(counts=bundle(anc(0.4) | {"code": {"coding": _CALLED_OTHERWISE}})),
            clozapine(),
        ),
        {"urn:lab|NEUT": "anc"},
    ),
    "units": (
        call("order-sign", prefetch(counts=bundle(anc(0.4, unit=None))), clozapine()),
        {f"{LOINC}|751-8": "10*9/L"},
    ),
    "country": (
        call("order-sign", prefetch(medications=bundle(on_clozapine())), order("Norpramin 20 mg")),
        "ES",
    ),
    "smoke_free_wards": (next(request_of(row) for _, _, row in rows() if row.get("smoke_free_wards")), True),
    "pathway": (call("patient-view", prefetch(conditions=bundle(_SCHIZOPHRENIA), medications=_TRIED)), True),
    "not_sent": (
        {
            **call("order-sign", None, clozapine()),
            "prefetch": {k: v for k, v in prefetch(counts=bundle(anc())).items() if k != "smoking"},
        },
        ["smoking"],
    ),
    "clozapine_brand": (
        next(request_of(row) for _, _, row in rows() if row.get("clozapine_brand")),
        "Clozaril",
    ),
    "counts_elsewhere": (call("order-sign", prefetch(), clozapine()), "the clozapine clinic"),
    "card_limit": (call("order-sign", prefetch(vitals=_FEVER), clozapine(1000)), 1),
    "profile": (call("order-sign", prefetch(), clozapine()), "epic"),
    "base_url": (call("order-sign", prefetch(), clozapine()), "https://cds.hospital.example"),
    "finding_system": (call("order-sign", prefetch(), clozapine()), "https://cds.hospital.example/findings"),
}


#: The policy under which an option bears on the answer, where that is not the default one.
_UNDER = {"clozapine_brand": "uk-smpc"}


def test_every_option_is_tried() -> None:
    assert set(OPTIONS) == set(SiteOptions.__annotations__)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_the_answer_and_only_for_who_gives_it(name: str) -> None:
    question, value = OPTIONS[name]
    policy = _UNDER.get(name)
    plain = judge(question, policy=policy, as_of=NOW)
    with_it = judge(question, policy=policy, as_of=NOW, site={name: value})  # type: ignore[misc]
    assert (cards(plain), plain.findings) != (cards(with_it), with_it.findings)
    assert cards(judge(question, policy=policy, as_of=NOW)) == cards(plain)


@pytest.mark.parametrize(
    ("site", "says"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone: 'Mars/Olympus' is not an IANA time zone"),
        ({"timezone": "UTC"}, "'timezone' is no option.*did you mean time_zone"),
        ({"shadow": True}, "'shadow' is no option that bears on an answer"),
        ({"database_url": "sqlite://"}, "'database_url' is no option"),
        ({"card_limit": 11}, "card_limit: "),
        ({"codes": {"urn:lab|NEUT": "ancc"}}, "did you mean 'anc'"),
        ({"units": {"urn:lab|NEUT": "stone"}}, "not a unit"),
        ({"not_sent": ["counts"]}, "without it nothing can be checked"),
        ({"codes": {"urn:lab|NEUT": object()}}, "not JSON"),
        ("UTC", "a dict of options is expected"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_sentence(site: Any, says: str) -> None:
    with pytest.raises(JudgeError, match=says) as refused:
        judge(SEVERE.read_bytes(), as_of=NOW, site=site)
    assert "\n" not in str(refused.value)


_OWN = """
id = "ours"
title = "Ours"
jurisdiction = "US"
inherits = "us-label-2025"
valid_from = 2026-01-01
summary = "The label, with our own limit of the daily dose."

[dosing]
daily_maximum = { value = LIMIT, unit = "mg/d", source = "US-PI", section = "2.2" }
"""


def _own(path: Path, limit: int) -> Path:
    path.write_text(_OWN.replace("LIMIT", str(limit)))
    return path


def test_a_policy_is_an_id_a_file_or_an_object(tmp_path: Path) -> None:
    question = call(
        "order-sign", prefetch(medications=bundle(on_clozapine(mg=500)), counts=bundle(anc())), clozapine(500)
    )
    over = "dose-exceeds-max critical"
    file = _own(tmp_path / "ours.toml", 400)
    assert over not in codes(judge(question, as_of=NOW))
    for policy in (file, str(file), load_policy(file)):
        answer = judge(question, as_of=NOW, policy=policy)
        assert answer.policy == "ours"
        assert over in codes(answer)
    assert judge(question, as_of=NOW, policy="uk-smpc").policy == "uk-smpc"
    assert judge(question, as_of=NOW, policy=policy_by_id("uk-smpc")).policy == "uk-smpc"


def test_a_policy_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    question = call(
        "order-sign", prefetch(medications=bundle(on_clozapine(mg=500)), counts=bundle(anc())), clozapine(500)
    )
    file = _own(tmp_path / "ours.toml", 400)
    assert "dose-exceeds-max critical" in codes(judge(question, as_of=NOW, policy=file))
    os.utime(_own(file, 600), ns=(1, 1))
    assert "dose-exceeds-max critical" not in codes(judge(question, as_of=NOW, policy=file))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("mars-2030", "policy: 'mars-2030' is neither a shipped policy .*us-label-2025"),
        ("nowhere.toml", "policy: nowhere.toml: no such policy file"),
        (Path("nowhere.toml"), "no such policy file"),
        (b"us-label-2025", "policy: the id of a shipped policy"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_sentence(policy: Any, says: str) -> None:
    with pytest.raises(JudgeError, match=says):
        judge(SEVERE.read_bytes(), as_of=NOW, policy=policy)


def test_a_policy_file_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    file = _own(tmp_path / "ours.toml", 9)
    with pytest.raises(JudgeError, match=r"policy: .*ours\.toml: "):
        judge(SEVERE.read_bytes(), as_of=NOW, policy=file)


def test_a_resolved_site_keeps_its_policy_unless_another_is_named() -> None:
    site = Settings(policy="uk-smpc", time_zone="Europe/London", database_url="sqlite://").site()
    answer = judge(SEVERE.read_bytes(), as_of=NOW, site=site)
    assert (answer.policy, str(answer.as_of.tzinfo)) == ("uk-smpc", "Europe/London")
    assert judge(SEVERE.read_bytes(), as_of=NOW, site=site, policy="us-rems-2015").policy == "us-rems-2015"


@pytest.mark.parametrize(
    ("question", "hook", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"# A heading", None, "not valid JSON"),
        (b"[]", None, "a JSON object is expected"),
        (b"null", None, "a JSON object is expected"),
        (b"[" * 100_000, None, "JSON"),
        (b'{"hook": "patient-view", "x": ' + b"[" * 100_000, None, "nested too deeply"),
        ("\ud800", None, "not valid JSON"),
        (7, None, "as bytes, text or dict"),
        (None, None, "as bytes, text or dict"),
        ({}, None, "hook must be one of patient-view"),
        ({"hook": "order-dispatch"}, None, "hook must be one of"),
        ({"hook": ["patient-view"]}, None, "hook must be one of"),
        ({"hook": "patient-view", "when": {1, 2}}, None, "not JSON"),
        ({"hook": "patient-view"}, None, "hookInstance is required"),
        ({"resourceType": "Bundle"}, None, "say which hook to play"),
        ({"resourceType": "Bundle"}, "order-dispatch", "hook must be one of"),
        ({"resourceType": "Bundle"}, "patient-view", "must hold one Patient; it holds 0"),
        ({"resourceType": "Bundle", "entry": 7}, "patient-view", "the Bundle could not be read"),
        (b'{"resourceType": "Bundle", "x": "\xff"}', "patient-view", "not valid JSON"),
        (call("patient-view", {}), None, "Clozapine was not checked: no data of this patient could be read"),
        (call("patient-view", prefetch()), "order-sign", "a request of the hook patient-view, and order-sign"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_judged_is_one_sentence(question: Any, hook: str | None, says: str) -> None:
    with pytest.raises(JudgeError, match=says) as refused:
        judge(question, hook=hook, as_of=NOW)
    assert isinstance(refused.value, ValueError)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("as_of", "says"),
    [
        (datetime(2026, 11, 20, 10), "with a time zone"),
        ("2026-11-20T10:00:00Z", "with a time zone"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))), "a year from 1900"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9))), "a year from 1900"),
    ],
)
def test_the_moment_is_given_and_exists(as_of: Any, says: str) -> None:
    with pytest.raises(JudgeError, match=says):
        judge(SEVERE.read_bytes(), as_of=as_of)


def test_the_moment_decides_and_no_clock(tmp_path: Path) -> None:
    question = call("patient-view", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(3.2, 3))))
    assert not any("anc-overdue" in c for c in codes(judge(question, as_of=NOW)))
    later = judge(question, as_of=NOW + timedelta(days=60))
    assert any("anc-overdue" in c for c in codes(later))
    assert later.as_of == NOW + timedelta(days=60)


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "service.toml"
    config.write_text('policy = "uk-smpc"\ncard_limit = 1\n')
    expected = judge(SEVERE.read_bytes(), as_of=NOW, site={"time_zone": "Europe/Paris"})
    for name, value in {
        "CONFIG": str(config),
        "TIME_ZONE": "Mars/Olympus",
        "BASE_URL": "ftp://nowhere",
        "FINDING_SYSTEM": "urn:other",
    }.items():
        monkeypatch.setenv(f"CLOZAPINE_CDS_{name}", value)
    # Another set of options, so that nothing remembered answers.
    answer = judge(SEVERE.read_bytes(), as_of=NOW, site={"time_zone": "Europe/Rome"})
    assert (answer.policy, answer.findings, cards(answer)) == (
        "us-label-2025",
        expected.findings,
        cards(expected),
    )


_ALONE = """
import sys
from datetime import UTC, datetime
from service.judge import judge, read_dose

touched = []

def watch(event, arguments):
    if event.startswith(("socket.", "sqlite3.", "subprocess.", "os.system")):
        touched.append(event)
    elif event == "open" and arguments[1] is not None and set(arguments[1]) & set("wax+"):
        touched.append(f"{event} {arguments[0]}")

sys.addaudithook(watch)
body = open(sys.argv[1], "rb").read()
answer = judge(body, as_of=datetime(2026, 11, 20, 10, tzinfo=UTC), site={"time_zone": "Europe/Paris"})
read_dose("100 mg nocte")
assert answer.findings[0].code == "anc-severe-neutropenia"
print(touched)
"""


def test_nothing_is_called_opened_or_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _ALONE, str(SEVERE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_notebook_s_running_loop_is_no_obstacle() -> None:
    async def cell() -> Judgement:
        return judge(SEVERE.read_bytes(), as_of=NOW)

    assert codes(asyncio.run(cell()))[0] == "anc-severe-neutropenia critical"


_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from service.judge import judge, read_dose

sys.setswitchinterval(1e-6)
body = open(sys.argv[1], "rb").read()

def ask(number):
    read_dose("100 mg nocte")
    return judge(body, as_of=datetime(2026, 11, 20, 10, tzinfo=UTC), policy=("us-label-2025", "uk-smpc")[number % 2])

with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(ask, range(200)))
made = [card for answer in answers for card in answer.cards]
uuids = [one.uuid for card in made for one in (card, *card.suggestions)]
assert len(uuids) == len(set(uuids)) >= 800
assert {answer.findings[0].code for answer in answers} == {"anc-severe-neutropenia", "anc-missing"}
"""


def test_threads_may_judge_at_once_from_the_first_question_on() -> None:
    """In a process of its own, where nothing has been read yet."""
    done = subprocess.run(
        [sys.executable, "-c", _AT_ONCE, str(SEVERE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_is_never_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("MRN 12345")

    monkeypatch.setattr("service.options.weighed.evaluate_case", explode)
    with pytest.raises(JudgeError, match="Clozapine was not checked: the service failed") as refused:
        judge(SEVERE.read_bytes(), as_of=NOW)
    assert "12345" not in str(refused.value)


def test_an_answer_is_frozen_and_can_be_sent() -> None:
    answer = judge(SEVERE.read_bytes(), as_of=NOW.astimezone(UTC))
    with pytest.raises(AttributeError):
        answer.hook = "patient-view"  # type: ignore[misc]
    sent = msgspec.json.decode(msgspec.json.encode(answer))
    assert set(sent) == set(Judgement.__struct_fields__)
    assert sent["findings"][0]["code"] == "anc-severe-neutropenia"
