"""Daily doses (clinical specification 3.5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.fhir.build import changed_dose
from service.fhir.dosage import read_dose
from service.fhir.strength import Strength, strength_in_name, strength_of_ratio
from tests.data import clozapine

TABLET = strength_in_name("clozapine 100 MG Oral Tablet")
LIQUID = strength_in_name("clozapine 50 MG/ML Oral Suspension")

TEXTS = [
    ("take 1 tablet twice daily", 200),
    ("100 mg am and 200 mg nocte", 300),
    ("12.5mg od", 12.5),
    ("2 tabs BD", 400),
    ("300 mg at night", 300),
    ("one tablet at bedtime", 100),
    ("1-2 tablets at night", 200),
    ("one or two tablets at night", 200),
    ("Take 2 tablets (200 mg) by mouth every 12 hours", 400),
    ("half a tablet in the morning and two tablets at night", 250),
    ("25 mg three times a day", 75),
    ("25 mg tid", 75),
    ("25 mg QID", 100),
    ("Take 100 mg by mouth daily.", 100),
    ("50 mg mane, 100 mg nocte", 150),
    ("every night 300 mg", 300),
    ("1 tablet every morning and 2 tablets every evening", 300),
    ("take 1.5 tablets at bedtime", 150),
    ("2 x 100 mg at night", 200),
    ("100 mg in the morning and at night", 200),
    ("take one tablet in the morning and two at night", 300),
    ("100 mg every other day", 100),
    ("100 mg q12h", 200),
    ("0.5 g daily", 500),
    ("100 mg b.i.d.", 200),
    ("150 mg morning and night", 300),
    ("3 tablets nightly", 300),
    ("one tablet every 8 hours", 300),
    ("100 mg PO qhs", 100),
    ("take one capsule once a day", 100),
    ("75 mg 2 times daily", 150),
    ("four tablets at night", 400),
    ("200 mg at noon and 300 mg before bed", 500),
    # fractions and decimal commas
    ("1 and 1/2 tabs qhs", 150),
    ("1-1/2 tablets at bedtime", 150),
    ("one and a half tablets at bedtime", 150),
    ("1/2 tab BID", 100),
    ("one-half tablet twice daily", 100),
    ("1½ tabs nocte", 150),
    ("¼ tablet at night", 25),
    ("12,5 mg twice daily", 25),
    ("0,5 tablet twice daily", 100),
    # two words for one time of the day
    ("take two tablets by mouth every night at bedtime", 200),
    ("100 mg every evening at bedtime", 100),
    ("100 mg every morning at 8 am", 100),
    ("100 mg daily at 8 am and 8 pm", 200),
    ("100 mg at 08:00 and 20:00", 200),
    ("100 mg at 8 am and 11 am", 200),
    ("100 mg in the evening and at bedtime", 200),
    ("100 mg OM 200 mg ON", 300),
    ("take 1 tablet by mouth once daily on an empty stomach", 100),
    ("one tablet thrice daily", 300),
    ("100 mg every other night", 100),
    # what brackets add
    ("Take 1 tablet (100 mg total) by mouth 2 (two) times a day.", 200),
    ("Take 3 tablets by mouth once a day at bedtime (300 mg)", 300),
    ("Take 3 tablets (100 mg each) at bedtime", 300),
    ("Take 1 tablet (100 mg total) by mouth every morning AND 2 tablets (200 mg total) nightly.", 300),
    # limits, sums and lengths are no doses
    ("100 mg daily. Max 900 mg per day", 100),
    ("100 mg am, 200 mg pm, total 300 mg daily", 300),
    ("100 mg at bedtime, hold if ANC < 1500", 100),
    ("100 mg nightly x 30 days", 100),
    ("1 tablet 2 hours before bedtime", 100),
]


@pytest.mark.parametrize(("text", "mg"), TEXTS)
def test_texts(text: str, mg: float) -> None:
    dose = read_dose([{"text": text}], TABLET)
    assert dose.unreadable == ""
    assert dose.mg_per_day == pytest.approx(mg)


@pytest.mark.parametrize(
    "text",
    [
        "use as directed",
        "as per protocol",
        "100 mg",
        "1 tablet",
        "100 mg tablet: take two at night",
        "titrate",
        "",
        "5 drops daily",
        "1 tab am, 3 pm",
        "25 mg x 2 nightly",
        "25 mg once weekly",
        "100 mg twice a week",
        "100 mg on Mondays",
        "12.5 mg daily for 2 days, then 25 mg daily for 2 days, then 50 mg daily",
        "12.5 mg daily for 2 days, 25 mg daily for 2 days",
        "100 mg at bedtime, may increase to 200 mg at bedtime",
        "100 mg daily up to 300 mg daily",
        "reduce from 300 mg daily to 200 mg daily",
        "hold 100 mg at night",
        "do not take 100 mg daily",
        "2 tablets (350 mg) at bedtime",
        "1,000 mg daily",
    ],
)
def test_texts_that_are_not_understood_are_not_guessed(text: str) -> None:
    assert read_dose([{"text": text}], TABLET).mg_per_day is None
    assert read_dose([{"text": text}], TABLET).unreadable


@pytest.mark.parametrize(
    ("text", "mg"),
    [
        ("3 tablets (300 mg total) at bedtime", 300),
        ("1 tablet (100 mg) at bedtime", 100),
        ("3 tablets (100 mg each) at bedtime", 300),
        ("3 tablets (100 mg) at bedtime", None),
    ],
)
def test_a_bracket_beside_tablets_of_unknown_strength(text: str, mg: float | None) -> None:
    assert read_dose([{"text": text}], Strength()).mg_per_day == mg


def _line(value: Any = 100, unit: str = "mg", timing: Any = None, **more: Any) -> dict[str, Any]:
    timing = timing if timing is not None else {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}
    return {"timing": timing, "doseAndRate": [{"doseQuantity": {"value": value, "unit": unit}}]} | more


def _bounded(
    mg: float, *, when: str = "", days: int = 0, start: str = "", end: str = "", **more: Any
) -> dict[str, Any]:
    """Once daily, at a time of the day, for a number of days or from a date (to a date)."""
    repeat: dict[str, Any] = {"frequency": 1, "period": 1, "periodUnit": "d"}
    if when:
        repeat["when"] = [when]
    if days:
        repeat["boundsDuration"] = {"value": days, "code": "d"}
    if start:
        repeat["boundsPeriod"] = {"start": start} | ({"end": end} if end else {})
    return _line(mg, timing={"repeat": repeat}, **more)


STRUCTURED: list[tuple[str, list[dict[str, Any]], float]] = [
    ("mg once daily", [_line()], 100),
    ("g", [_line(0.1, "g")], 100),
    ("mcg", [_line(12500, "mcg")], 12.5),
    ("tablets", [_line(3, "tablet")], 300),
    ("{pill}", [_line(3, "{pill}")], 300),
    ("{tbl}", [_line(2, "{tbl}")], 200),
    ("twice daily", [_line(timing={"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}})], 200),
    ("every 8 hours", [_line(timing={"repeat": {"frequency": 1, "period": 8, "periodUnit": "h"}})], 300),
    ("frequencyMax", [_line(timing={"repeat": {"frequency": 1, "frequencyMax": 3, "period": 1, "periodUnit": "d"}})], 300),
    ("times of day", [_line(timing={"repeat": {"timeOfDay": ["08:00:00", "20:00:00"]}})], 200),
    ("when", [_line(timing={"repeat": {"when": ["MORN", "HS"]}})], 200),
    *(
        (code, [_line(timing={"code": {"coding": [{"code": code}]}})], mg)
        for code, mg in (("QD", 100), ("BID", 200), ("TID", 300), ("QID", 400), ("Q12H", 200), ("QHS", 100), ("AM", 100), ("PM", 100))
    ),
    ("code as text", [_line(timing={"code": {"text": "BID"}})], 200),
    ("range: the high end", [{"timing": {"code": {"text": "QD"}}, "doseAndRate": [{"doseRange": {"low": {"value": 50, "unit": "mg"}, "high": {"value": 150, "unit": "mg"}}}]}], 150),
    ("object instead of array", [{"timing": {"code": {"text": "QD"}}, "doseAndRate": {"doseQuantity": {"value": 100, "unit": "mg"}}}], 100),
    ("the old place", [{"timing": {"code": {"text": "QD"}}, "doseQuantity": {"value": 100, "unit": "mg"}}], 100),
    ("morning and night add up", [_line(100, timing={"code": {"text": "AM"}}), _line(200, timing={"code": {"text": "QHS"}})], 300),
    ("numbered one after the other", [_line(100, sequence=1), _line(200, sequence=2)], 200),
    ("numbered alike: together", [_line(100, sequence=1), _line(200, sequence=1)], 300),
    ("as needed counts as taken", [_line(50), _line(25, asNeededBoolean=True)], 75),
    ("at the time of day more often than it says", [_line(timing={"repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "timeOfDay": ["21:00:00"]}})], 200),
    ("a timing that only has a name", [_line(timing={"code": {"coding": [{"code": "229799001", "display": "Twice a day"}]}})], 200),
    ("the name of a timing", [_line(timing={"code": {"text": "2 times daily"}})], 200),
    ("EA", [_line(2, "EA")], 200),
    ("the second way in which the dose is written", [{"timing": {"code": {"text": "QD"}}, "doseAndRate": [{"doseQuantity": {"value": 2, "unit": "puff"}}, {"doseQuantity": {"value": 200, "unit": "mg"}}]}], 200),
    ("morning and night for as many days", [_bounded(100, when="MORN", days=7), _bounded(200, when="HS", days=7)], 300),
    ("the same, numbered", [_bounded(100, when="MORN", days=7, sequence=1), _bounded(200, when="HS", days=7, sequence=2)], 300),
    ("a text with two doses and a length", [{"text": "100 mg mane, 200 mg nocte", "timing": {"repeat": {"boundsDuration": {"value": 7, "code": "d"}}}}], 300),
    ("a dose added later, beside an open one", [_bounded(100, when="HS", start="2026-01-01"), _bounded(50, when="MORN", start="2026-01-10")], 150),
    ("periods that overlap", [_bounded(100, start="2026-01-01", end="2026-01-31"), _bounded(50, start="2026-01-10", end="2026-01-31")], 150),
    ("as needed for some days, beside a lasting dose", [_line(100), _bounded(25, start="2026-01-10", end="2026-01-20", asNeededBoolean=True)], 125),
    ("a period ends on the day the next begins", [_bounded(100, start="2026-01-01", end="2026-01-05"), _bounded(150, start="2026-01-05")], 150),
    ("an open period gives way to the next", [_bounded(100, start="2026-01-01"), _bounded(150, start="2026-01-05")], 150),
    ("maximum per day", [_line(100, timing={"repeat": {"frequency": 4, "period": 1, "periodUnit": "d"}}, maxDosePerPeriod={"numerator": {"value": 300, "unit": "mg"}, "denominator": {"value": 1, "unit": "d"}})], 300),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "mg"), [(lines, mg) for _, lines, mg in STRUCTURED], ids=[name for name, _, _ in STRUCTURED]
)
def test_structured(lines: list[dict[str, Any]], mg: float) -> None:
    dose = read_dose(lines, TABLET)
    assert dose.unreadable == ""
    assert dose.mg_per_day == pytest.approx(mg)


def test_volume_needs_a_concentration() -> None:
    assert read_dose([_line(2, "mL")], LIQUID).mg_per_day == 100
    assert "concentration" in read_dose([_line(2, "mL")], TABLET).unreadable


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (_line(-25), "negative"),
        (_line(0), "zero"),
        (_line("25"), "no number"),
        (_line(1e9), "absurd"),
        (_line(3, "drop"), "not a mass"),
        (_line(3, ""), "no unit"),
        (_line(timing={}), "timing"),
        (_line(timing={"repeat": {"frequency": 2}}), "no period"),
        (_line(timing={"repeat": {"frequency": 0, "period": 1, "periodUnit": "d"}}), "not a positive"),
        (_line(timing={"repeat": {"frequency": -2, "period": 1, "periodUnit": "d"}}), "not a positive"),
        (_line(timing={"code": {"text": "once weekly"}}), "timing"),
    ],
)
def test_unreadable_says_why(line: dict[str, Any], why: str) -> None:
    dose = read_dose([line], TABLET)
    assert dose.mg_per_day is None
    assert why in dose.unreadable


def test_tablets_of_unknown_strength_are_unreadable() -> None:
    assert "strength" in read_dose([_line(3, "tablet")], Strength()).unreadable


def test_titration_steps() -> None:
    def step(sequence: int, mg: float, days: int) -> dict[str, Any]:
        return _line(
            mg,
            sequence=sequence,
            timing={
                "repeat": {
                    "frequency": 1,
                    "period": 1,
                    "periodUnit": "d",
                    "boundsDuration": {"value": days, "code": "d"},
                }
            },
        )

    dose = read_dose([step(1, 12.5, 2), step(2, 25, 3), step(3, 50, 4)], TABLET)
    assert [(s.first_day, s.days, s.mg_per_day) for s in dose.steps] == [(0, 2, 12.5), (2, 3, 25), (5, 4, 50)]
    assert (dose.first_mg_per_day, dose.mg_per_day) == (12.5, 50)


def test_the_first_day_of_a_dose_every_other_day_has_the_whole_dose() -> None:
    dose = read_dose([_line(50, timing={"repeat": {"frequency": 1, "period": 2, "periodUnit": "d"}})], TABLET)
    assert (dose.first_mg_per_day, dose.mg_per_day, dose.mean_mg_per_day) == (50, 50, 25)


def test_a_time_of_day_in_the_evening_is_bedtime() -> None:
    assert read_dose([_line(timing={"repeat": {"timeOfDay": ["21:00:00"]}})], TABLET).bedtime
    assert not read_dose([_line(timing={"repeat": {"timeOfDay": ["08:00:00"]}})], TABLET).bedtime


def test_steps_of_a_range_of_days_come_at_the_earliest() -> None:
    first = _line(
        12.5,
        sequence=1,
        timing={
            "repeat": {
                "frequency": 1,
                "period": 1,
                "periodUnit": "d",
                "boundsRange": {"low": {"value": 2, "code": "d"}, "high": {"value": 3, "code": "d"}},
            }
        },
    )
    dose = read_dose([first, _line(25, sequence=2)], TABLET)
    assert [(s.first_day, s.days, s.mg_per_day) for s in dose.steps] == [(0, 2, 12.5), (2, None, 25)]


def test_titration_by_periods() -> None:
    def step(start: str, end: str, mg: float) -> dict[str, Any]:
        return _line(
            mg,
            timing={
                "repeat": {
                    "frequency": 1,
                    "period": 1,
                    "periodUnit": "d",
                    "boundsPeriod": {"start": start, "end": end},
                }
            },
        )

    dose = read_dose([step("2026-11-20", "2026-11-21", 12.5), step("2026-11-22", "2026-11-30", 25)], TABLET)
    assert [(s.first_day, s.days, s.mg_per_day) for s in dose.steps] == [(0, 2, 12.5), (2, 9, 25)]


@pytest.mark.parametrize(
    ("name", "per_unit", "per_ml"),
    [
        ("clozapine 100 MG Oral Tablet", 100, None),
        ("Clozaril 25mg tab", 25, None),
        ("clozapine 12.5 mg ODT", 12.5, None),
        ("clozapine 50 MG/ML Oral Suspension", None, 50),
        ("clozapine 250 mg/5 mL", None, 50),
        ("clozapine 50 mg per mL", None, 50),
        ("clozapine 50 MG in 1 ML Oral Suspension", None, 50),
        ("Clozapin 12,5 mg Tabletten", 12.5, None),
        ("Clozapine,100 mg tablet", 100, None),
        ("sulfamethoxazole 800 MG / trimethoprim 160 MG", None, None),
        ("ketoconazole 2 % cream", None, None),
        ("clozapine", None, None),
    ],
)
def test_strength_in_a_name(name: str, per_unit: float | None, per_ml: float | None) -> None:
    found = strength_in_name(name)
    assert (found.mg_per_unit, found.mg_per_ml) == (per_unit, per_ml)


def test_strength_of_a_medication_resource() -> None:
    ratio = {"numerator": {"value": 100, "unit": "mg"}, "denominator": {"value": 1, "unit": "tablet"}}
    assert strength_of_ratio(ratio).mg_per_unit == 100
    assert strength_of_ratio({"numerator": {"value": 5, "unit": "%"}}) == Strength()
    assert strength_of_ratio("100 mg") == Strength()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "timing",
                    "repeat",
                    "code",
                    "doseAndRate",
                    "doseQuantity",
                    "value",
                    "unit",
                    "text",
                    "period",
                    "when",
                    "sequence",
                    "boundsPeriod",
                    "start",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_reading_never_raises(anything: Any) -> None:
    dose = read_dose(anything, TABLET)
    assert dose.mg_per_day is None or dose.mg_per_day > 0
    assert (dose.mg_per_day is None) == bool(dose.unreadable)


def test_changed_dose_keeps_everything_else() -> None:
    draft = clozapine(300, extension=[{"url": "urn:x"}], dispenseRequest={"quantity": {"value": 30}})
    changed = changed_dose(draft, 25, 2)
    assert read_dose(changed["dosageInstruction"], Strength()).mg_per_day == 25
    assert "dispenseRequest" not in changed
    assert {k: v for k, v in changed.items() if k != "dosageInstruction"} == {
        k: v for k, v in draft.items() if k not in ("dosageInstruction", "dispenseRequest")
    }
    assert "dispenseRequest" in draft  # the draft as sent is untouched


def test_changed_dose_leaves_nothing_that_restates_the_old_dose() -> None:
    draft = clozapine(
        300,
        text={"status": "generated", "div": "<div>clozapine 300 mg</div>"},
        dispenseRequest={"quantity": {"value": 90}, "initialFill": {"quantity": {"value": 9}}},
    )
    draft["dosageInstruction"][0] |= {
        "text": "3 tablets nightly",
        "patientInstruction": "three tablets",
        "maxDosePerPeriod": {
            "numerator": {"value": 300, "unit": "mg"},
            "denominator": {"value": 1, "unit": "d"},
        },
        "additionalInstruction": [{"text": "Increase by 25 mg daily"}, {"text": "With food"}],
        "extension": [{"url": "urn:dose-text", "valueString": "300 mg"}],
    }
    draft["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {"end": "2026-12-20"}
    changed = changed_dose(draft, 225, 2)
    assert "300" not in str(changed["dosageInstruction"])
    assert "text" not in changed
    assert "dispenseRequest" not in changed
    (line,) = changed["dosageInstruction"]
    assert line["additionalInstruction"] == [{"text": "With food"}]
    assert line["timing"]["repeat"]["boundsPeriod"] == {"end": "2026-12-20"}
    assert line["text"] == "112.5 mg twice daily"
    assert read_dose([line], Strength()).mg_per_day == 225
