"""Which result counts, in whatever shape it comes (clinical.md 3.1, 3.2): a low count is never silent behind a normal one of five days ago."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.alerts.evaluate import evaluate
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding import Finding
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from service.fhir.snapshot import NO_MAPS, SiteMaps
from tests.data import LOINC, NOW, anc, bundle, day_ago, observation, on_clozapine, prefetch

Json = dict[str, Any]
_BANDS = ("anc-mild-neutropenia", "anc-moderate-neutropenia", "anc-severe-neutropenia")
_BEFORE = anc(3.0, 5, id="before")


def judge(
    *counts: Json,
    policy: str = "us-label-2025",
    maps: SiteMaps = NO_MAPS,
    medication: Json | None = None,
    vitals: tuple[Json, ...] = (),
) -> list[Finding]:
    """Findings for a patient long on clozapine, unless another record of it is given, with these counts."""
    taken = medication or on_clozapine(500)
    sent = prefetch(counts=bundle(*counts), medications=bundle(taken), vitals=bundle(*vitals))
    raw = {key: Raw(orjson.dumps(value)) for key, value in sent.items()}
    gathered, _ = from_prefetch(raw, dict.fromkeys(QUERIES))
    facts = snapshot.build(
        patient_id="clz-p1", hook="patient-view", zone=NOW.tzinfo, gathered=gathered, maps=maps
    )
    return evaluate(facts, policy_by_id(policy), NOW)


def band(*counts: Json) -> str:
    """The band that is said after a normal count of five days ago; empty for none."""
    return next((f.code for f in judge(_BEFORE, *counts) if f.code in _BANDS), "")


def codes(*counts: Json) -> list[str]:
    """Finding codes after a normal count of five days ago."""
    return [f.code for f in judge(_BEFORE, *counts)]


def _wbc(value: float, days: float = 1, comparator: str = "", **more: Any) -> Json:
    made = observation("6690-2", value, "10*3/uL", days, **({"id": "wbc"} | more))
    if comparator:
        made["valueQuantity"]["comparator"] = comparator
    return made


def _percent(code: str, value: float, days: float = 1, comparator: str = "", **more: Any) -> Json:
    made = observation(code, value, "%", days, **({"id": f"share-{code}"} | more))
    if comparator:
        made["valueQuantity"]["comparator"] = comparator
    return made


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"status": "amended"}, {}),
        ({}, {"status": "preliminary"}),
    ],
)
def test_two_versions_of_one_resource_the_one_that_counts_first(one: Json, other: Json, turned: bool) -> None:
    versions = [anc(0.4, 1, id="a", **one), anc(3.0, 1, id="a", **other)]
    assert band(*(versions[::-1] if turned else versions)) == "anc-severe-neutropenia"


def test_two_counts_of_one_panel_the_lowest() -> None:
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": {"value": v, "unit": "K/uL"}}
        for code, v in (("751-8", 0.4), ("753-4", 3.0))
    ]
    assert (
        band(observation("57021-8", None, None, 1, id="panel", component=parts)) == "anc-severe-neutropenia"
    )


def test_a_later_preliminary_count_does_not_calm_an_earlier_one() -> None:
    low = anc(0.4, 0.2, id="low", status="preliminary")
    better = anc(2.8, 0.1, id="better", status="preliminary")
    assert band(low, better) == "anc-severe-neutropenia"


@pytest.mark.parametrize(
    ("wbc", "expected"),
    [
        (_wbc(0.4), "anc-severe-neutropenia"),
        (_wbc(0.1, comparator="<"), "anc-severe-neutropenia"),
        (_wbc(0.9), "anc-moderate-neutropenia"),
        (_wbc(1.4, status="preliminary"), "anc-mild-neutropenia"),
        (_wbc(1.6), ""),
        (_wbc(0.4, comparator=">"), ""),
        (_wbc(0.4, 6), ""),
    ],
)
def test_a_white_cell_count_without_a_differential_bounds_the_anc(wbc: Json, expected: str) -> None:
    assert band(wbc) == expected


def test_a_white_cell_count_that_bounds_the_anc_is_no_current_count() -> None:
    old = anc(3.0, 70, id="old")
    assert "anc-overdue" in [f.code for f in judge(old, _wbc(0.4))]


def test_a_white_cell_count_beside_its_own_anc_says_nothing_more() -> None:
    assert band(_wbc(1.4), anc(1.4, 1, id="own")) == "anc-mild-neutropenia"
    assert not any("WBC" in line for f in judge(_wbc(1.4), anc(1.4, 1)) for line in f.why)


@pytest.mark.parametrize(
    ("wbc", "shares", "expected"),
    [
        (
            _wbc(3.0),
            [_percent("769-0", 30), _percent("764-1", 1, comparator="<")],
            "anc-moderate-neutropenia",
        ),
        (_wbc(2.0, comparator="<"), [_percent("770-8", 40)], "anc-moderate-neutropenia"),
        (_wbc(3.0), [_percent("770-8", 45, comparator=">")], "anc-mild-neutropenia"),
        (_wbc(3.0, comparator="<"), [_percent("770-8", 30, comparator=">")], ""),
        # 3000 × 50 %: exactly the limit, whatever binary fractions make of 16.1 + 33.9.
        (_wbc(3.0), [_percent("769-0", 16.1), _percent("764-1", 33.9)], ""),
        (_wbc(4.1), [_percent("770-8", 36.58536585)], ""),
    ],
)
def test_a_calculated_count_keeps_the_bound_of_its_parts(
    wbc: Json, shares: list[Json], expected: str
) -> None:
    assert band(wbc, *shares) == expected


def test_a_recheck_within_the_hour_is_calculated_from_its_own_differential() -> None:
    first = [_wbc(6.0, 0.1 + 50 / 1440, id="w1"), _percent("770-8", 60, 0.1 + 50 / 1440, id="p1")]
    second = [_wbc(2.0, 0.1, id="w2"), _percent("770-8", 40, 0.1, id="p2")]
    assert band(*first, *second) == "anc-moderate-neutropenia"
    assert "ANC 800/µL" in " ".join(f.summary for f in judge(*first, *second))


def test_results_of_days_apart_in_one_report_are_of_different_samples() -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "id": "cumulative",
        "result": [{"reference": f"Observation/{i}"} for i in ("w1", "a1", "w2", "a2")],
    }
    old, new = [_wbc(2.0, 4, id="w1"), anc(0.9, 4, id="a1")], [_wbc(6.0, 1, id="w2"), anc(3.0, 1, id="a2")]
    found = [f.code for f in judge(report, *old, *new)]
    assert "anc-unusable" not in found
    assert "anc-moderate-neutropenia" not in found


def test_specimens_contained_in_their_results_are_not_one() -> None:
    inside = {"specimen": {"reference": "#specimen"}}
    low = _wbc(2.0, 1, **inside)
    assert band(low, _percent("770-8", 90, 8, **inside)) == ""
    assert (
        band(low, _percent("770-8", 40, 1, **inside), anc(3.0, 8, id="a", **inside))
        == "anc-moderate-neutropenia"
    )


def test_a_count_above_its_white_cells_is_shown_and_gives_way_to_the_calculated_one() -> None:
    contradicted = [anc(20, 1), _wbc(2.0), _percent("770-8", 40)]
    assert band(*contradicted) == "anc-moderate-neutropenia"
    assert "anc-unusable" in codes(*contradicted)


def test_a_count_above_a_bounded_white_cell_count_is_not_believed() -> None:
    contradicted = [anc(3.0, 1), _wbc(0.5, comparator="<")]
    assert band(*contradicted) == "anc-severe-neutropenia"
    assert "anc-unusable" in codes(*contradicted)


def test_a_preliminary_direct_count_does_not_displace_a_settled_calculated_one() -> None:
    assert (
        band(anc(1.9, 1, status="preliminary"), _wbc(2.0), _percent("770-8", 40))
        == "anc-moderate-neutropenia"
    )


@pytest.mark.parametrize("system", [None, "http://loinc.org/", "https://loinc.org", "LOINC"])
def test_loinc_in_other_words(system: str | None) -> None:
    low = anc(0.3, 1, id="low")
    low["code"]["coding"] = [{"code": "751-8"} | ({"system": system} if system else {})]
    assert band(low) == "anc-severe-neutropenia"


def _without(resource: Json, *keys: str) -> Json:
    return {key: value for key, value in resource.items() if key not in keys}


@pytest.mark.parametrize("timed", ["result", "report"])
def test_a_count_that_exists_only_inside_a_report(timed: str) -> None:
    inside = anc(0.3, 1, id="x")
    report = {
        "resourceType": "DiagnosticReport",
        "id": "report",
        "status": "final",
        "effectiveDateTime": inside["effectiveDateTime"],
        "contained": [
            {"resourceType": "Specimen", "id": "s"},
            inside if timed == "result" else _without(inside, "effectiveDateTime"),
        ],
        "result": [{"reference": "#x"}],
    }
    found = next(f for f in judge(_BEFORE, report) if f.code == "anc-severe-neutropenia")
    assert "DiagnosticReport/report#x" in [e.ref for e in found.evidence]


def test_what_a_report_contains_of_another_patient_is_not_believed() -> None:
    foreign = anc(0.3, 1, id="x", patient="somebody-else")
    report = {
        "resourceType": "DiagnosticReport",
        "id": "report",
        "subject": {"reference": "Patient/clz-p1"},
        "contained": [foreign],
    }
    assert band(report) == ""


def test_what_a_report_contains_and_cannot_be_read_is_said() -> None:
    for rotten in ([anc(0.3, 1) | {"status": 7}], "no list"):
        report = {"resourceType": "DiagnosticReport", "id": "report", "contained": rotten}
        assert "data-unavailable" in codes(report)


def test_a_panel_without_a_status_is_shown_not_dropped() -> None:
    part = {
        "code": {"coding": [{"system": LOINC, "code": "751-8"}]},
        "valueQuantity": {"value": 0.4, "unit": "K/uL"},
    }
    panel = observation("57021-8", None, None, 1, id="panel", component=[part])
    assert "anc-unusable" in codes(_without(panel, "status"))
    assert "anc-unusable" not in codes(panel | {"status": "cancelled"})


def test_a_result_without_a_status_from_before_the_newest_count_is_history() -> None:
    assert "anc-unusable" in codes(_without(anc(0.4, 1), "status"))
    assert "anc-unusable" not in codes(_without(anc(0.4, 400), "status"))


@pytest.mark.parametrize(
    ("value", "said"), [(1499.6, "ANC 1499/µL"), (999.9, "ANC 999/µL"), (499.5, "ANC 499/µL")]
)
def test_a_count_below_a_limit_is_never_written_as_the_limit(value: float, said: str) -> None:
    found = next(f for f in judge(anc(value, 0.2, "/uL")) if f.code in _BANDS)
    assert found.summary.startswith(said)


def test_the_extra_counts_after_recovery_name_their_day() -> None:
    found = judge(anc(3.2, 5, id="now"), anc(0.8, 15, id="low"))
    line = next(f for f in found if f.code == "anc-recheck-after-recovery").why[-1]
    assert line == "Due weekly, so on 2026-11-22."


def test_a_count_that_cannot_be_worked_out_is_shown() -> None:
    unitless = observation("6690-2", 2.0, None, 1, id="wbc")
    assert "anc-unusable" in codes(unitless, _percent("770-8", 40))
    assert "anc-unusable" in codes(_wbc(2.0), observation("770-8", 0.4, "1", 1, id="share"))
    assert "anc-unusable" in codes(_wbc(2.0), _percent("769-0", 90), _percent("764-1", 20))


def test_a_white_cell_count_nobody_needs_is_no_news() -> None:
    unitless = observation("6690-2", 2.0, None, 1, id="wbc")
    assert "anc-unusable" not in codes(unitless)
    assert "anc-unusable" not in codes(unitless, _percent("770-8", 40), anc(3.0, 1))


def test_of_several_unusable_counts_the_newest_is_named() -> None:
    older, newer = anc(0.7, 2, None, id="older"), anc(0.4, 1, None, id="newer")
    for sent in ((older, newer), (newer, older)):
        found = next(f for f in judge(_BEFORE, *sent) if f.code == "anc-unusable")
        assert "“0.4”" in found.summary


def test_a_word_in_place_of_a_count_is_shown() -> None:
    word = anc(None, 1, valueCodeableConcept={"text": "critically low"})
    found = next(f for f in judge(_BEFORE, word) if f.code == "anc-unusable")
    assert "“critically low”" in found.summary


@pytest.mark.parametrize("text", ["0.4", "<0.5"])
def test_the_unit_a_site_names_holds_for_numbers_sent_as_text(text: str) -> None:
    maps = SiteMaps(units={(LOINC, "751-8"): "10*3/uL"})
    low = anc(None, 1, id="low", valueString=text)
    assert "anc-unusable" in codes(low)
    assert "anc-severe-neutropenia" in [f.code for f in judge(_BEFORE, low, maps=maps)]
    assert "anc-unusable" in [f.code for f in judge(_BEFORE, anc(None, 1, valueString="see note"), maps=maps)]


@pytest.mark.parametrize("status", ["Final", "FINAL "])
def test_a_status_in_other_letters_is_read(status: str) -> None:
    assert band(anc(0.3, 1, status=status)) == "anc-severe-neutropenia"


def test_a_status_that_is_none_is_shown() -> None:
    for status in ("completed", "F", "unknown"):
        assert "anc-unusable" in codes(anc(0.3, 1, status=status))
    for status in ("registered", "cancelled", "entered-in-error"):
        assert "anc-unusable" not in codes(anc(0.3, 1, status=status))


def test_what_is_said_after_a_stop_says_that_it_was_stopped() -> None:
    stopped = on_clozapine(500) | {"status": "stopped"}
    period = {"boundsPeriod": {"start": day_ago(500), "end": day_ago(10)}}
    repeat = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"} | period}
    stopped["dosageInstruction"] = [{"timing": repeat}]
    hot = observation("8310-5", 39.0, "Cel", 0.3, id="hot")
    found = {
        f.code: f.summary for f in judge(anc(3.2, 40), policy="uk-smpc", medication=stopped, vitals=(hot,))
    }
    assert "after clozapine was stopped: ANC at once" in found["fever"]
    assert "the follow-up WBC and ANC are missing" in found["anc-post-stop"]
