"""What an Observation says beside its value: the posture it was taken in, the range it is judged by, whether it can be true."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.alerts.facts.patient import Measurement, PatientSnapshot
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import LOINC, NOW, ago, bundle, observation, words

Json = dict[str, Any]
BODY_POSITION = "http://hl7.org/fhir/StructureDefinition/observation-bodyPosition"


def read(*observations: Json) -> PatientSnapshot:
    prefetch = {"labs": Raw(orjson.dumps(bundle(*observations)))}
    gathered, _ = from_prefetch(prefetch, dict.fromkeys(QUERIES))
    return snapshot.build(
        patient_id="clz-p1", hook="patient-view", zone=NOW.tzinfo, gathered=gathered, orders=None
    )


def one(kind: str, *observations: Json) -> Measurement:
    (found,) = read(*observations).measurements[kind]
    return found


def _pressure(**position: Any) -> Json:
    extension = [{"url": BODY_POSITION, "valueCodeableConcept": position}]
    return observation("8480-6", 120, "mm[Hg]", extension=extension)


@pytest.mark.parametrize(
    ("display", "posture"),
    [
        ("Orthostatic body position", "standing"),
        ("Standing position", "standing"),
        ("Sitting position (finding)", "sitting"),
        ("Lying position", "lying"),
        ("Supine body position", "lying"),
        ("Recumbent body position", "lying"),
        ("Body position unknown", ""),
    ],
)
def test_the_posture_in_words(display: str, posture: str) -> None:
    assert one("systolic", _pressure(text=display)).qualifier == posture
    assert one("systolic", _pressure(coding=[{"display": display}])).qualifier == posture


@pytest.mark.parametrize(
    ("code", "posture"),
    [
        ("10904000", "standing"),
        ("33586001", "sitting"),
        ("40199007", "lying"),
        ("102538003", "lying"),
        ("1", ""),
    ],
)
def test_the_posture_by_code(code: str, posture: str) -> None:
    coding = [{"system": "http://snomed.info/sct", "code": code}]
    assert one("systolic", _pressure(coding=coding)).qualifier == posture


def test_one_panel_holds_the_pressure_lying_and_standing() -> None:
    panel = observation("85354-9", None, None)
    panel["component"] = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, "unit": "mm[Hg]"},
        }
        for code, value in (("8461-6", 130), ("8460-8", 100))
    ]
    found = read(panel).measurements["systolic"]
    assert [(m.value, m.qualifier) for m in found] == [(130, "lying"), (100, "standing")]


def _troponin(*ranges: Json, unit: str = "ng/L") -> float | None:
    return one("troponin", observation("67151-1", 40, unit, referenceRange=list(ranges))).upper_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0-14", 14),
        ("0.0 – 14.0 ng/L", 14),
        ("<14", 14),
        ("<= 14 ng/L", 14),
        ("up to 14 ng/L", 14),
        ("0.000-0.014 ng/mL", 14),
        ("<14 U/L", None),
        ("negative", None),
        ("men <34, women <16", None),
        ("14", None),
        (">14", None),
        ("0-14 (ng/L) fasting 12", None),
    ],
)
def test_a_range_that_is_text_only_counts_when_all_of_it_is_a_limit(text: str, limit: float | None) -> None:
    assert _troponin({"text": text}) == (pytest.approx(limit) if limit is not None else None)


def test_the_number_of_a_range_goes_before_its_text() -> None:
    assert _troponin({"high": {"value": 14, "unit": "ng/L"}, "text": "<34"}) == 14


def test_of_several_ranges_the_lowest_counts() -> None:
    men, women = {"high": {"value": 34, "unit": "ng/L"}}, {"high": {"value": 16, "unit": "ng/L"}}
    assert _troponin(men, women) == _troponin(women, men) == 16


@pytest.mark.parametrize("type_", [{"coding": [{"code": "critical"}]}, {"text": "Panic values"}])
def test_a_critical_range_is_not_the_normal_one(type_: Json) -> None:
    critical = {"type": type_, "high": {"value": 10, "unit": "ng/L"}}
    assert _troponin(critical) is None
    normal = {"type": {"coding": [{"code": "normal"}]}, "high": {"value": 14, "unit": "ng/L"}}
    assert _troponin(critical, normal) == 14


@pytest.mark.parametrize(
    ("high", "limit"),
    [
        ({"value": 14}, 14),
        ({"value": 14, "unit": "NG/L"}, 14),
        ({"value": 14, "unit": "nanograms per litre", "code": "ng/L"}, 14),
        ({"value": 14, "unit": "pg/mL"}, 14),
        ({"value": 0.014, "unit": "ug/L"}, 14),
        ({"value": 14, "unit": "U/L"}, None),
        ({"value": "14", "unit": "ng/L"}, None),
    ],
)
def test_a_range_in_another_unit_than_its_value(high: Json, limit: float | None) -> None:
    assert _troponin({"high": high}) == (pytest.approx(limit) if limit is not None else None)


def test_a_limit_in_ukat_per_litre() -> None:
    alt = one(
        "alt",
        observation("1742-6", 9, "ukat/L", referenceRange=[{"high": {"value": 0.75, "unit": "ukat/L"}}]),
    )
    assert (alt.value, alt.upper_limit) == (540, 45)


@pytest.mark.parametrize(
    ("code", "value", "unit", "kind"),
    [
        ("8310-5", 38.9, "[degF]", "temperature"),
        ("8636-3", 0.52, "ms", "qtc"),
        ("4548-4", 7.8, "mmol/mol", "hba1c"),
        ("29463-7", 0, "kg", "weight"),
        ("8480-6", 0, "mm[Hg]", "systolic"),
        ("8867-4", 0, "/min", "heart-rate"),
        ("1988-5", -1, "mg/L", "crp"),
    ],
)
def test_a_value_that_cannot_be_true_is_kept_apart(code: str, value: float, unit: str, kind: str) -> None:
    facts = read(observation(code, value, unit, effectiveDateTime=ago(1)))
    assert kind not in facts.measurements
    assert [u.kind for u in facts.unusable] == [kind]


def test_a_site_maps_a_further_loinc_code() -> None:
    maps = snapshot.SiteMaps(codes={(LOINC, "41653-7"): "glucose"})
    prefetch = {"labs": Raw(orjson.dumps(bundle(observation("41653-7", 15, "mmol/L"))))}
    gathered, _ = from_prefetch(prefetch, dict.fromkeys(QUERIES))
    facts = snapshot.build(
        patient_id="clz-p1",
        hook="patient-view",
        zone=NOW.tzinfo,
        gathered=gathered,
        orders=None,
        maps=maps,
    )
    assert [m.value for m in facts.measurements["glucose"]] == [pytest.approx(270.24)]


@pytest.mark.parametrize(
    ("code", "value", "unit", "kind", "canonical"),
    [
        ("14749-6", 15, "mmol/L", "glucose", 270.24),
        ("15074-8", 15, "mmol/L", "glucose", 270.24),
        ("14771-0", 7, "mmol/L", "glucose-fasting", 126.112),
        ("59261-8", 48, "mmol/mol", "hba1c", 6.54304),
        ("17856-6", 6.5, "%", "hba1c", 6.5),
        ("14647-2", 5, "mmol/L", "cholesterol", 193.35),
        ("22748-8", 3, "mmol/L", "ldl", 116.01),
        ("14646-4", 1, "mmol/L", "hdl", 38.67),
        ("14927-8", 2, "mmol/L", "triglycerides", 177.14),
        ("14631-6", 34, "umol/L", "bilirubin", 1.98798),
    ],
)
def test_results_of_laboratories_that_count_in_moles(
    code: str, value: float, unit: str, kind: str, canonical: float
) -> None:
    assert one(kind, observation(code, value, unit)).value == pytest.approx(canonical)


def test_zero_is_zero_for_every_patient() -> None:
    texts = [one("anc", observation("751-8", value, "10*3/uL")).raw for value in (-0.0, 0.0, 0)]
    assert texts == ["0 10*3/uL"] * 3


def test_a_resource_that_nobody_expected_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    real = snapshot.ObservationReader._read_plain

    def odd(self: Any, o: Any) -> bool:
        if o.id == "odd":
            raise ZeroDivisionError("3.2")
        return real(self, o)

    monkeypatch.setattr(snapshot.ObservationReader, "_read_plain", odd)
    facts = read(
        observation("751-8", 3.2, "10*3/uL") | {"id": "odd"},
        observation("751-8", 2.5, "10*3/uL") | {"id": "sound"},
    )
    assert [m.ref for m in facts.measurements["anc"]] == ["Observation/sound"]
    assert facts.state("labs") == "incomplete"
    assert [(p.ref, words(p.reason), p.matters) for p in facts.read_problems] == [
        (
            "Observation/odd",
            "left out: this service failed on it (ZeroDivisionError); tell its operators",
            True,
        )
    ]
