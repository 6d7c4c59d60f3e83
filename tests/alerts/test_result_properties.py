"""What must hold for results, doses and problems of every patient (clinical.md 2.3, 2.6, 2.7)."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from service.alerts.evaluate import evaluate
from service.alerts.facts.practice import Practice
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.cards import cards_of
from service.alerts.say.finding import SEVERITY_RANK, Finding
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import NOW, anc, bundle, clozapine, observation, on_clozapine, order, prefetch

POLICY = policy_by_id("us-label-2025")
Json = dict[str, Any]
#: LOINC code, unit, highest value drawn, codes of the rules that judge it; the higher the worse.
_HIGH = {
    "troponin": ("67151-1", "ng/L", 200, ("myocarditis",)),
    "CRP": ("1988-5", "mg/L", 250, ("myocarditis",)),
    "QTc": ("8636-3", "ms", 600, ("qt-",)),
    "pulse": ("8867-4", "/min", 180, ("tachycardia", "myocarditis")),
    "level": ("6896-5", "ng/mL", 1500, ("level-high", "level-toxic")),
    "glucose": ("2345-7", "mg/dL", 500, ("hyperglycemia",)),
    "fasting glucose": ("1558-6", "mg/dL", 500, ("hyperglycemia",)),
    "ALT": ("1742-6", "U/L", 300, ("hepatotoxicity",)),
}
_LIMITS = {"troponin": 14, "CRP": 5, "ALT": 40}


def judge(
    results: list[Json],
    *,
    medications: list[Json] | None = None,
    drafts: list[Json] | None = None,
    problems: list[Json] | None = None,
    hook: str = "patient-view",
) -> list[Finding]:
    """Findings for a patient who has taken clozapine for 20 days unless other medications are given."""
    sent = prefetch(
        counts=bundle(anc(3.2, 1)),
        labs=bundle(*results),
        vitals=None,
        medications=bundle(*(medications if medications is not None else [on_clozapine(20)])),
        conditions=bundle(*(problems or [])),
    )
    raw = {key: Raw(orjson.dumps(value)) for key, value in sent.items()}
    gathered, _ = from_prefetch(raw, dict.fromkeys(QUERIES))
    orders = Raw(orjson.dumps({"resourceType": "Bundle", "entry": [{"resource": d} for d in drafts or []]}))
    facts = snapshot.build(patient_id="clz-p1", hook=hook, zone=NOW.tzinfo, gathered=gathered, orders=orders)
    return evaluate(facts, POLICY, NOW, Practice(pathway=True))


def _result(kind: str, value: float, days: float, id: str, **more: Any) -> Json:
    code, unit, _, _ = _HIGH[kind]
    made = observation(code, value, unit, days, id=id, **more)
    if kind in _LIMITS:
        made["referenceRange"] = [{"high": {"value": _LIMITS[kind], "unit": unit}}]
    return made


def _worst(found: list[Finding], prefixes: tuple[str, ...]) -> int:
    return max((SEVERITY_RANK[f.severity] for f in found if f.code.startswith(prefixes)), default=-1)


_KINDS = st.sampled_from(sorted(_HIGH))
_DAYS = st.integers(0, 29)
_SHARES = st.floats(0, 1).map(lambda v: round(v, 3))


@given(_KINDS, _SHARES, _SHARES, _DAYS)
def test_a_higher_result_never_gives_a_milder_answer(kind: str, one: float, other: float, days: int) -> None:
    highest, prefixes = _HIGH[kind][2], _HIGH[kind][3]
    low, high = sorted((one * highest, other * highest))
    milder = _worst(judge([_result(kind, low, days, "r")]), prefixes)
    assert _worst(judge([_result(kind, high, days, "r")]), prefixes) >= milder


@given(_KINDS, _SHARES, _SHARES, st.integers(1, 15), st.integers(0, 15))
def test_a_preliminary_result_may_warn_but_never_calms(
    kind: str, settled: float, preliminary: float, settled_days: int, days: int
) -> None:
    highest, prefixes = _HIGH[kind][2], _HIGH[kind][3]
    final = _result(kind, settled * highest, settled_days, "f")
    early = _result(kind, preliminary * highest, days, "p", status="preliminary")
    assert _worst(judge([final, early]), prefixes) >= _worst(judge([final]), prefixes)


@given(_KINDS, _SHARES, _DAYS, st.sampled_from(["cancelled", "entered-in-error", "registered"]))
def test_a_result_that_is_none_changes_nothing(kind: str, share: float, days: int, status: str) -> None:
    withdrawn = _result(kind, share * _HIGH[kind][2], days, "w", status=status)
    assert _said(judge([withdrawn])) == _said(judge([]))


@given(st.lists(st.tuples(_KINDS, _SHARES, _DAYS), max_size=6, unique_by=lambda r: r[0]))
def test_an_unrelated_result_or_problem_changes_nothing(drawn: list[tuple[str, float, int]]) -> None:
    results = [_result(k, share * _HIGH[k][2], days, f"r{i}") for i, (k, share, days) in enumerate(drawn)]
    sodium = observation("2951-2", 140, "mmol/L", 1, id="na")
    bunion = _problem("bunion of the left foot", "b")
    assert _said(judge(results)) == _said(judge([sodium, *results], problems=[bunion]))


def _said(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(f.code, f.severity, f.summary) for f in found]


def _problem(text: str, id: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": id,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"text": text},
        "subject": {"reference": "Patient/clz-p1"},
    }


_PROBLEMS = st.lists(
    st.sampled_from(
        [
            "myocarditis", "paralytic ileus", "constipation", "jaundice", "pregnancy", "breastfeeding", "dementia", "schizophrenia",
            "narrow-angle glaucoma", "prostatic hyperplasia", "uncontrolled epilepsy", "diabetic ketoacidosis", "pneumonia",
            "severe renal failure", "<b>ileus</b> [x](http://a.example)", "ileus " + "very " * 60 + "long",
        ]
    ),
    max_size=4,
    unique=True,
)  # fmt: skip


@given(
    st.lists(st.tuples(_KINDS, _SHARES, _DAYS), max_size=6, unique_by=lambda r: r[0]),
    _PROBLEMS,
    st.sampled_from([0, 3, 13, 14, 55, 56, 400]),
    st.sampled_from(["visit", "renew", "raise", "stop", "start"]),
    st.sampled_from(
        ["order-sign", "order-select", "patient-view", "encounter-discharge", "medication-verify"]
    ),
)
def test_every_finding_can_be_read_and_traced(
    drawn: list[tuple[str, float, int]], problems: list[str], since: int, what: str, hook: str
) -> None:
    results = [_result(k, share * _HIGH[k][2], days, f"r{i}") for i, (k, share, days) in enumerate(drawn)]
    drafts = {
        "visit": [],
        "renew": [clozapine(300)],
        "raise": [clozapine(700)],
        "stop": [{**on_clozapine(since), "status": "stopped"}],
        "start": [clozapine(12.5)],
    }[what]
    found = judge(
        results,
        medications=[] if what == "start" else [on_clozapine(since)],
        drafts=drafts,
        problems=[_problem(text, f"p{i}") for i, text in enumerate(problems)],
        hook=hook,
    )
    for finding in found:
        assert finding.evidence or finding.missing, finding.code
        assert 0 < len(finding.summary) < 140
        assert "<" not in finding.summary.replace("‹", "")
        assert finding.citation.label
        assert not (finding.missing and finding.missing[0].startswith("nothing"))
        assert not any("failed" in line for line in finding.why if finding.code == "data-unavailable")
    assert len(cards_of(found, hook)) <= 10


@given(st.integers(1, 60), st.integers(1, 36), st.integers(0, 36))
def test_a_larger_rise_never_gives_a_milder_answer(since: int, steps: int, more: int) -> None:
    """Doses in steps of 25 mg, after 100 mg/day."""
    prefixes = ("dose-titration", "dose-exceeds", "dose-seizure")

    def run(mg: float) -> int:
        return _worst(
            judge([], medications=[on_clozapine(since, 100)], drafts=[clozapine(mg)], hook="order-sign"),
            prefixes,
        )

    assert run(25 * (steps + more)) >= run(25 * steps)


@given(st.integers(1, 20), st.sampled_from([12.5, 25.0, 50.0, 300.0]))
def test_a_cancelled_order_changes_nothing_about_a_start(days: int, mg: float) -> None:
    withdrawn = {**on_clozapine(days), "status": "cancelled"}
    drafts = [clozapine(mg)]
    alone = judge([], medications=[], drafts=drafts, hook="order-sign")
    assert _said(judge([], medications=[withdrawn], drafts=drafts, hook="order-sign")) == _said(alone)


@given(st.sampled_from(["lisinopril 10 mg oral tablet", "amoxicillin 500 mg capsule"]))
def test_clozapine_findings_need_clozapine(name: str) -> None:
    results = [_result(kind, highest, 1, kind) for kind, (_, _, highest, _) in _HIGH.items()]
    found = judge(results, medications=[], drafts=[order(name)], hook="order-sign")
    assert not [f for f in found if f.code not in ("data-unavailable", "medication-unrecognized")]
