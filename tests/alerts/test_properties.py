"""What must hold for every patient."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from service.alerts.evaluate import evaluate
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.alerts.say.finding import SEVERITY_RANK, Finding
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import NOW, anc, bundle, clozapine, observation, on_clozapine, prefetch

POLICY = policy_by_id("us-label-2025")


def judge(
    counts: list[dict[str, Any]],
    medications: list[dict[str, Any]],
    drafts: list[dict[str, Any]],
    policy: Policy = POLICY,
) -> list[Finding]:
    """Findings for order-sign."""
    sent = prefetch(counts=bundle(*counts), medications=bundle(*medications))
    raw = {key: Raw(orjson.dumps(value)) for key, value in sent.items()}
    gathered, _ = from_prefetch(raw, dict.fromkeys(QUERIES))
    orders = Raw(orjson.dumps({"resourceType": "Bundle", "entry": [{"resource": d} for d in drafts]}))
    facts = snapshot.build(
        patient_id="clz-p1", hook="order-sign", zone=NOW.tzinfo, gathered=gathered, orders=orders
    )
    return evaluate(facts, policy, NOW)


def _worst(findings: list[Finding]) -> int:
    judged = (f.severity for f in findings if f.code.startswith(("anc-", "blood-count-")))
    return max((SEVERITY_RANK[severity] for severity in judged), default=-1)


_VALUES = st.floats(0, 9).map(lambda v: round(v, 2))
_AGES = st.integers(0, 90)
_COUNTS = st.lists(st.tuples(_VALUES, _AGES), min_size=1, max_size=6, unique_by=lambda c: c[1])


@given(_COUNTS, st.booleans(), st.floats(0, 1))
def test_a_lower_newest_anc_never_gives_a_milder_answer(
    counts: list[tuple[float, int]], starting: bool, share: float
) -> None:
    medications = [] if starting else [on_clozapine()]
    newest = min(range(len(counts)), key=lambda i: counts[i][1])

    def run(value: float) -> int:
        made = [anc(value if i == newest else v, age, id=f"a{i}") for i, (v, age) in enumerate(counts)]
        return _worst(judge(made, medications, [clozapine(12.5 if starting else 300)]))

    assert run(round(counts[newest][0] * share, 2)) >= run(counts[newest][0])


@given(_COUNTS, st.sampled_from(policy_ids()), st.sampled_from(["anc", "wbc"]), st.floats(0, 1))
def test_under_every_policy_a_lower_newest_count_never_gives_a_milder_answer(
    counts: list[tuple[float, int]], policy_id: str, kind: str, share: float
) -> None:
    newest = min(range(len(counts)), key=lambda i: counts[i][1])

    def run(value: float) -> int:
        # The other count stays normal; it is of other samples, so that the two never contradict each other.
        mine = [value if i == newest else v for i, (v, _) in enumerate(counts)]
        neutrophils = mine if kind == "anc" else [3.0 for _ in counts]
        white = [20.0 for _ in counts] if kind == "anc" else mine
        made = [
            anc(v, age, id=f"a{i}") for i, (v, (_, age)) in enumerate(zip(neutrophils, counts, strict=True))
        ]
        made += [
            observation("6690-2", v, "10*3/uL", age + 0.25, id=f"w{i}")
            for i, (v, (_, age)) in enumerate(zip(white, counts, strict=True))
        ]
        return _worst(judge(made, [on_clozapine()], [clozapine(300)], policy_by_id(policy_id)))

    assert run(round(counts[newest][0] * share, 2)) >= run(counts[newest][0])


@given(_COUNTS, st.sampled_from(["/uL", "10*9/L", "K/uL", "cells/mm3", "x10E3/uL", "/L"]))
def test_the_unit_never_matters(counts: list[tuple[float, int]], unit: str) -> None:
    factor = {"/uL": 1000, "cells/mm3": 1000, "/L": 1e9}.get(unit, 1)

    def run(unit: str, factor: float) -> list[tuple[str, str]]:
        made = [anc(round(v * factor, 6), age, unit, id=f"a{i}") for i, (v, age) in enumerate(counts)]
        return [(f.code, f.severity) for f in judge(made, [on_clozapine()], [clozapine(300)])]

    assert run(unit, factor) == run("10*3/uL", 1)


@given(_COUNTS, st.randoms(use_true_random=False))
def test_order_and_duplicates_never_matter(counts: list[tuple[float, int]], chance: random.Random) -> None:
    made = [anc(v, age, id=f"a{i}") for i, (v, age) in enumerate(counts)]
    shuffled = made + [chance.choice(made) for _ in range(3)]
    chance.shuffle(shuffled)
    medications = [on_clozapine(), {**on_clozapine(), "id": "mr-8", "status": "completed"}]
    straight = [(f.code, f.severity, f.summary) for f in judge(made, medications, [clozapine(300)])]
    mixed = [(f.code, f.severity, f.summary) for f in judge(shuffled, medications[::-1], [clozapine(300)])]
    assert straight == mixed


@given(_COUNTS)
def test_removing_the_newest_count_never_makes_the_answer_quieter_unexplained(
    counts: list[tuple[float, int]],
) -> None:
    made = sorted(
        (anc(v, age, id=f"a{i}") for i, (v, age) in enumerate(counts)),
        key=lambda a: a["effectiveDateTime"],
        reverse=True,
    )
    before = judge(made, [on_clozapine()], [clozapine(300)])
    after = judge(made[1:], [on_clozapine()], [clozapine(300)])
    if _worst(after) < _worst(before):
        newest_low = any(
            f.code
            in ("anc-severe-neutropenia", "anc-moderate-neutropenia", "anc-mild-neutropenia", "anc-falling")
            for f in before
        )
        assert newest_low or not made[1:]


@given(_COUNTS, st.booleans())
def test_every_finding_has_evidence_or_names_what_is_missing(
    counts: list[tuple[float, int]], starting: bool
) -> None:
    made = [anc(v, age, id=f"a{i}") for i, (v, age) in enumerate(counts)]
    for finding in judge(made, [] if starting else [on_clozapine()], [clozapine(100)]):
        assert finding.evidence or finding.missing
        assert 0 < len(finding.summary) < 140
        assert finding.citation.label


@given(_COUNTS)
def test_an_unrelated_resource_changes_nothing(counts: list[tuple[float, int]]) -> None:
    made = [anc(v, age, id=f"a{i}") for i, (v, age) in enumerate(counts)]
    sodium = {
        **anc(140, 1, "mmol/L", id="na"),
        "code": {"coding": [{"system": "http://loinc.org", "code": "2951-2"}]},
    }
    plain = [(f.code, f.severity, f.summary) for f in judge(made, [on_clozapine()], [clozapine(300)])]
    assert plain == [
        (f.code, f.severity, f.summary) for f in judge([sodium, *made], [on_clozapine()], [clozapine(300)])
    ]


_ADDRESS = re.compile(r"\d{4}-\d{2}-\d{2}|\d{2}:\d{2}|(?:Observation|MedicationRequest)/\S+|10\\?\*[39]/\S+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _numbers_in(value: Any) -> set[float]:
    """Every number of a structure, those inside texts too."""
    if isinstance(value, dict):
        return set().union(*(_numbers_in(v) for v in value.values()), set())
    if isinstance(value, list | tuple):
        return set().union(*(_numbers_in(v) for v in value), set())
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    return {float(n) for n in _NUMBER.findall(str(value))}


@given(
    _COUNTS,
    st.sampled_from(["start", "renew", "draft of 1000 mg", "visit"]),
    st.integers(0, 900),
    st.sampled_from(policy_ids()),
)
def test_every_number_on_a_card_stands_in_the_policy_or_the_record(
    counts: list[tuple[float, int]], what: str, course_days: int, policy_id: str
) -> None:
    """Or is a span of days between two of their dates: no number comes from anywhere else."""
    policy = policy_by_id(policy_id)
    made = [anc(v, age, id="a" * (i + 1)) for i, (v, age) in enumerate(counts)]
    orders = [] if what == "start" else [on_clozapine(course_days)]
    drafts = {"start": [clozapine(12.5)], "draft of 1000 mg": [clozapine(500, frequency=2)], "visit": []}.get(
        what, [clozapine(300)]
    )
    in_policy = _numbers_in(msgspec.to_builtins(policy))
    in_record = (
        {v for v, _ in counts}
        | {v * 1000 for v, _ in counts}
        | {12.5, 25.0, 100.0, 300.0, 500.0, 1000.0, 600.0, 1300.0}
    )
    days = {float(age) for _, age in counts} | {float(course_days)}
    intervals = {n for n in in_policy if n <= 366}
    spans = {abs(a - b) for a in days | {0.0} for b in days | intervals}
    counted = {float(n) for n in range(len(drafts) + len(orders) + 5)}
    for finding in judge(made, orders, drafts, policy):
        for text in (finding.summary, *finding.why, *finding.suggested):
            for number in _NUMBER.findall(_ADDRESS.sub(" ", text)):
                value = round(float(number), 2)
                assert any(
                    abs(value - round(known, 2)) < 0.011 or value == round(known)
                    for known in in_policy | in_record | spans | counted
                ), f"{number} in {finding.code}: {text}"
