"""Daily doses (clinical specification 3.5)."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.fhir.build import changed_dose
from service.fhir.dosage import read_dose
from service.fhir.dosage_amounts import NotRead
from service.fhir.dosage_items import Reader
from service.fhir.dosage_words import words_of
from service.fhir.strength import BY_CODE, BY_NAME, Strength, agreed, strength_in_name, strength_of_ratio
from tests.data import clozapine, words

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
    ("200 mg (2 tablets) at night", 200),
    ("1 twice a day (in the morning and at night)", 200),
    ("100 mg mane (and 200 mg nocte)", 300),
    # a number of times and a time of the day beside it
    ("1 tablet BID and HS", 300),
    ("one tablet tds and nocte", 400),
    ("1 tablet daily and at bedtime", 200),
    ("one twice a day four at night", 600),
    ("100 mg in the morning or at night", 100),
    ("take one tablet with breakfast  lunch and evening meal", 300),
    ("one three times a day after meals and 2 at night", 500),
    ("one three times a day after food and every night", 400),
    ("dissolve one tablet in water and take with food every morning", 100),
    ("one daily and take at night", 100),
    ("1 tablet three times a day preferably after food", 300),
    # the dose of the day
    ("600 mg daily divided BID", 600),
    ("300 mg/day in 3 divided doses", 300),
    ("300 mg daily in divided doses morning and night", 300),
    ("100 mg mane and 200 mg nocte, i.e. 300 mg per day", 300),
    ("300 mg daily: 100 mg mane and 200 mg nocte", 300),
    ("150 mg BID (total daily dose 300 mg)", 300),
    ("75 mg mane 75 mg midday 150 mg nocte = 300 mg daily", 300),
    # not every day: the dose of a day on which it is taken
    ("1 tablet every third night", 100),
    ("2 tablets q48h", 200),
    ("one and a half tablets on alternate nights", 150),
    # tablets without the word
    ("one at night", 100),
    ("take 1 or 2 4 times/day", 800),
    ("1mane 2 nocte", 300),
    ("half daily", 50),
    ("take a quarter of a tablet twice daily", 50),
    ("20 tablets. One tablet to be taken two times a day", 200),
    ("100 mg = 1 tab(s), Oral, BID, # 60 tab(s), 2 Refill(s)", 200),
    ("one daily [28]", 100),
    # by the hour; what may be taken at most
    ("1 tab q6h", 400),
    ("1-2 tabs six to eight hourly", 800),
    ("1-2 every 4-6 hours. max 8 in 24 hours", 800),
    ("2 tablets up to four times a day", 800),
    # what it is for, how to take it
    ("1 tablet every morning for schizophrenia", 100),
    ("one daily to lower blood pressure and prevent strokes", 100),
    ("2 tablets at night swallowed whole with plenty of water", 200),
    ("1 tablet 30 minutes before breakfast", 100),
    # other languages and national ways of writing
    ("1-0-1-0", 200),
    ("0-0-2,5", 250),
    ("0-0-0-9", 900),
    ("1 tablet daily, morning and night", 200),
    ("1 tds pc", 300),
    ("0-0-0-3", 300),
    ("½-0-1 Tabl.", 150),
    ("100-0-200 mg", 300),
    ("2x täglich 1 Tablette", 200),
    ("100 mg am Morgen und am Abend", 200),
    ("morgens 1 Tablette, abends 2 Tabletten", 300),
    ("alle 12 Stunden 1 Tablette", 200),
    ("1dd2t", 200),
    ("2 maal per dag 1 tablet", 200),
    ("'s morgens 1 tablet en 's avonds 2 tabletten", 300),
    ("1 of 2 tabletten voor de nacht", 200),
    ("un comprimé matin et soir", 200),
    ("1 cp x 2/j", 200),
    ("1 comprimido cada 12 horas", 200),
    ("1 compressa la sera", 100),
    ("2-mal täglich 100 mg", 200),
    ("400 mg täglich, verteilt auf 2 Gaben", 400),
    ("300 mg par jour en 2 prises", 300),
    ("300 mg/j en deux prises", 300),
    ("prendre 1 comprimé le soir au repas", 100),
    ("1 tablet bij het ontbijt en 2 bij het avondeten", 300),
    ("1dd1t an", 100),
    ("1 tableta cada noche", 100),
    ("1 comp/12h", 200),
    ("medio comprimido por la noche", 50),
    ("un comprimido y medio por la noche", 150),
    ("300 mg diarios", 300),
    ("1 comprimido en desayuno, comida y cena", 300),
    ("1 cp x 2/die", 200),
    ("300 mg/die", 300),
    ("1 compressa al mattino e 2 compresse alla sera", 300),
    ("una compressa e mezza la sera", 150),
    ("1 compressa prima di coricarsi", 100),
    ("600 mg al giorno in due somministrazioni", 600),
    ("1 compressa a giorni alterni", 100),
    # hours of the clock
    ("100 mg um 8 Uhr und 200 mg um 20 Uhr", 300),
    ("100 mg 8 Uhr, 200 mg 20 Uhr", 300),
    ("1 cp à 8h et 2 cp à 20h", 300),
    ("100 mg om 8 uur en 200 mg om 20 uur", 300),
    ("100 mg at 0800 and 200 mg at 2200 hrs", 300),
    ("1 tab @ 2200", 100),
    # numbers in words
    ("100mg (one hundred milligrams) at night", 100),
    ("TWO HUNDRED MG nocte", 200),
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
    assert not dose.unreadable
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
        "1.000 mg daily",
        "25 mg nightly, aim for 300 mg daily",
        "changed from 250 mg nocte to 300 mg nocte",
        "25 mg nightly, followed by 50 mg nightly",
        "100 mg nocte Mon-Fri and 150 mg nocte Sat-Sun",
        "1 tablet at night (Mondays and Thursdays)",
        "300 mg nightly except Sundays",
        "25 mg nightly (increase by 25 mg every day to 300 mg)",
        "100 mg mane or 200 mg nocte",
        "either 100 mg or 200 mg at night",
        "100 mg nocte and then 200 mg",
        "150 mg BID (total daily dose 350 mg)",
        "300 mg daily: 100 mg mane and 150 mg nocte",
        "1 tablet nightly, 2 on bad days",
        "1 tablet at night and as needed",
        "1 tablet nightly as needed, max 3 tablets",
        "1 tablet with meals and at bedtime",
        "one and two every other day",
        "25 mg nightly, 50 mg nightly",
        "take one 50 mg tablet at night",
        "1/2 tablets at night",
        "half of one at night",
        "1 half every day",
        "2.5 nocte",
        "25 nocte",
        "1 am 2 pm",
        "twice daily at night",
        "100 mg once",
        "100 mg daily BID",
        "one dose twice daily",
        "2 puffs twice a day",
        "apply 1 tablet daily",
        "2 ml at night",
        "100 mg/kg daily",
        "0-0-0",
        "100 mg nocte 5/7",
        "12,5-0-12,5",
        "0-0-0-12.5",
        "6,25-0-0",
        "20-0-20",
        "300 mg daily, morning and night",
        "2 comprimés par jour matin et soir",
        "2 tablets a day (morning and night)",
        "1 pc & hs",
        "1 ac & hs",
        "one before food and at night",
        "one after food and one at night",
        "one four times a day after meals and at bedtime",
        "1 or 2 after food and every night when required",
        "in the morning and with food 1 tablet",
        "1 Tablette zu den Mahlzeiten",
        "1 compressa ai pasti",
        "1 comprimé au repas",
        "1 tablet at 8 hours",
        "1 tablet at 24:00",
        "2 om 1 pm",
        "2om1pm",
        "100 mg 2200",
        "8 Uhr: 1 Tablette, 20 Uhr: 2 Tabletten",
        "2 tomas al día",
        "100 mg, 3 Dosen täglich",
        "one hundred and fifty mg nocte",
        "one hundred fifty mg nocte",
        "1 cp/0h",
        "1 tablet every 0 hours",
        "un comprimé en prises",
        "take 1 tablet an",
        "1 tablet nightly " + "with food " * 250,
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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("300 mg nocte, aim for 400 mg", "“aim”, “for”"),
        ("100 mg on Mondays", "“on”, “mondays”"),
        ("100 mg nocte or 200 mg mane", "choice"),
        ("take daily", "no amount"),
        ("x" * 3000, "longer than 2000"),
    ],
)
def test_what_was_not_understood_is_named(text: str, named: str) -> None:
    assert named in words(read_dose([{"text": text}], TABLET).unreadable)


def test_as_needed_in_a_text_is_said() -> None:
    dose = read_dose([{"text": "1 tablet twice daily when required"}], TABLET)
    assert (dose.mg_per_day, dose.as_needed, dose.only_as_needed) == (200, True, True)


def test_a_text_that_is_not_every_day_says_so() -> None:
    dose = read_dose([{"text": "50 mg every third night"}], TABLET)
    assert (dose.mg_per_day, dose.first_mg_per_day, dose.mean_mg_per_day) == (50, 50, pytest.approx(16.667))
    assert "not every day: every third night" in map(words, dose.notes)


@pytest.mark.parametrize(
    "text", ["100 mg mane and ", "(200 mg) ", "1 or 2 ", "for the ", "½", "a.b.", "1-", "in 2 "]
)
def test_the_time_to_read_a_text_grows_with_its_length(text: str) -> None:
    def seconds(length: int) -> float:
        long = (text * length)[:length]
        times = []
        for _ in range(5):
            began = time.process_time()
            with contextlib.suppress(NotRead):
                Reader(words_of(long)).read()
            times.append(time.process_time() - began)
        return min(times)

    seconds(1_000)
    assert seconds(16_000) < 10 * seconds(4_000)  # four times as long; a square would be 16


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


def _weekly(mg: float, *days: str, **repeat: Any) -> dict[str, Any]:
    return _line(
        mg,
        timing={"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": list(days)} | repeat},
    )


_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STRUCTURED += [
    ("weekdays and weekend", [_weekly(100, *_WEEK[:5]), _weekly(150, *_WEEK[5:])], 150),
    ("a line for each day of the week", [_weekly(100, day) for day in _WEEK], 100),
    ("more on one day, beside a daily dose", [_line(100), _weekly(50, "sun")], 150),
    ("days of the week and a time", [_line(100, timing={"repeat": {"dayOfWeek": ["mon", "wed"], "when": ["MORN"]}})], 100),
    ("days of the week alone", [_line(100, timing={"repeat": {"dayOfWeek": ["mon"]}})], 100),
    ("three times a week on its days", [_weekly(100, "mon", "wed", "fri", frequency=3, periodUnit="wk")], 100),
    ("twice a week", [_line(100, timing={"repeat": {"frequency": 2, "period": 1, "periodUnit": "wk"}})], 100),
    ("every 48 hours", [_line(100, timing={"repeat": {"frequency": 1, "period": 48, "periodUnit": "h"}})], 100),
    ("every other day, coded", [_line(100, timing={"code": {"text": "QOD"}})], 100),
    ("steps that are only numbered", [_line(12.5, sequence=1), _line(25, sequence=2), _line(50, sequence=3)], 50),
    ("numbered, but at other times of the day", [_bounded(25, when="MORN", sequence=1), _bounded(50, when="EVE", sequence=2)], 75),
    ("numbered, at one time of the day", [_bounded(25, when="EVE", sequence=1), _bounded(50, when="EVE", sequence=2)], 50),
    ("numbered, on other days of the week", [_weekly(300, "mon", "wed", "fri") | {"sequence": 1}, _weekly(200, "tue", "thu", "sat", "sun") | {"sequence": 2}], 300),
    ("numbered, a line for each day of the week", [_weekly(100, day) | {"sequence": n} for n, day in enumerate(_WEEK, 1)], 100),
    ("once, then daily", [_line(200, timing={"repeat": {"count": 1}}, sequence=1), _line(100, sequence=2)], 200),
    ("1-0-0-2 in columns", [_line(n, "Tablette", timing={"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "timeOfDay": [at]}}) for n, at in ((1, "08:00:00"), (0, "12:00:00"), (0, "18:00:00"), (2, "22:00:00"))], 300),
    ("at meals", [_line(100, timing={"repeat": {"when": ["C"]}})], 300),
    ("after each meal and at night", [_line(100, timing={"repeat": {"when": ["PC", "HS"]}})], 400),
    ("once daily after food", [_line(100, timing={"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["PC"]}})], 100),
    ("breakfast and dinner", [_line(100, timing={"repeat": {"when": ["CM", "CV"]}})], 200),
    ("a rate by the day", [{"doseAndRate": [{"rateRatio": {"numerator": {"value": 300, "unit": "mg"}, "denominator": {"value": 1, "unit": "d", "code": "d"}}}]}], 300),
    ("a rate by the day, twice daily", [{"timing": {"code": {"text": "BID"}}, "doseAndRate": [{"rateRatio": {"numerator": {"value": 300, "unit": "mg"}, "denominator": {"value": 24, "code": "h"}}}]}], 300),
    *((unit, [_line(2, unit)], 200) for unit in ("Stück", "stuk", "comprimé", "comprimés", "Tabletten", "TAB", "Kapsel(n)", "gélule", "Tbl.", "Stk.", "tab.")),
    *(
        (f"{code} of {system}", [{"timing": {"code": {"text": "QD"}}, "doseAndRate": [{"doseQuantity": {"value": 2, "system": system, "code": code}}]}], 200)
        for system, code in (("http://snomed.info/sct", "732936001"), ("http://snomed.info/sct", "428673006"), ("urn:oid:2.16.840.1.113883.2.4.4.1.900.2", "245"), ("https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_BMP_DOSIEREINHEIT", "1"))
    ),
    ("several instructions, each with the text of all", [_line(100, timing={"code": {"text": "AM"}}, text="100 mg mane 200 mg nocte"), _line(200, timing={"code": {"text": "QHS"}}, text="100 mg mane 200 mg nocte")], 300),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "mg"), [(lines, mg) for _, lines, mg in STRUCTURED], ids=[name for name, _, _ in STRUCTURED]
)
def test_structured(lines: list[dict[str, Any]], mg: float) -> None:
    dose = read_dose(lines, TABLET)
    assert not dose.unreadable
    assert dose.mg_per_day == pytest.approx(mg)


def test_lines_of_other_days_of_the_week_are_no_steps() -> None:
    lines = [_weekly(300, *_WEEK[:3]) | {"sequence": 1}, _weekly(200, *_WEEK[3:]) | {"sequence": 2}]
    assert read_dose(lines, TABLET).steps == ()
    assert read_dose(lines, TABLET).mean_mg_per_day == pytest.approx((3 * 300 + 4 * 200) / 7, abs=0.001)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (_line(timing={"code": {"text": "BID"}, "repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}), "both 2 and 1 doses a day"),
        (_line(timing={"code": {"text": "QD"}, "repeat": {"frequency": 1, "period": 12, "periodUnit": "h"}}), "both 1 and 2 doses a day"),
        (_line() | {"doseAndRate": [{"doseQuantity": {"value": 100, "unit": "mg"}}, {"doseQuantity": {"value": 200, "unit": "mg"}}]}, "100 mg and as 200 mg"),
        (_line() | {"doseAndRate": [{"doseQuantity": {"value": 2, "unit": "tablet"}}, {"doseQuantity": {"value": 100, "unit": "mg"}}]}, "200 mg and as 100 mg"),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_not_read(line: dict[str, Any], says: str) -> None:
    dose = read_dose([line], TABLET)
    assert dose.mg_per_day is None
    assert says in words(dose.unreadable)


@pytest.mark.parametrize(
    "line",
    [
        _line(timing={"code": {"text": "BID"}, "repeat": {"frequency": 1, "period": 12, "periodUnit": "h"}}),
        _line(timing={"code": {"text": "BID"}, "repeat": {"timeOfDay": ["08:00:00", "21:00:00"]}}),
        _line() | {"timing": {"code": {"text": "BID"}}, "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}, {"doseQuantity": {"value": 100, "unit": "mg"}}]},
        _line() | {"timing": {"code": {"text": "BID"}}, "doseAndRate": [{"doseQuantity": {"value": 7}}, {"doseQuantity": {"value": 100, "unit": "mg"}}]},
    ],
)  # fmt: skip
def test_fields_that_say_the_same_in_several_ways_are_read(line: dict[str, Any]) -> None:
    assert read_dose([line], TABLET).mg_per_day == 200


@pytest.mark.parametrize("name", ["doseQuantity", "doseSimpleQuantity"])
def test_a_dose_outside_of_dose_and_rate_as_in_stu3(name: str) -> None:
    timing = {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}}
    line = {"timing": timing, name: {"value": 150, "unit": "mg"}}
    assert read_dose([line], TABLET).mg_per_day == 300


def test_days_without_a_dose_are_said() -> None:
    dose = read_dose([_weekly(100, *_WEEK[:5])], TABLET)
    assert dose.mean_mg_per_day == pytest.approx(500 / 7, abs=0.001)
    assert "not every day: nothing on Sat, Sun" in map(words, dose.notes)
    assert read_dose([_weekly(100, *_WEEK)], TABLET).notes == ()
    assert "dayOfWeek" in words(read_dose([_weekly(100, "someday")], TABLET).unreadable)


def test_numbered_steps_come_one_day_after_the_other_at_the_earliest() -> None:
    dose = read_dose([_line(12.5, sequence=1), _line(25, sequence=2), _line(50, sequence=3)], TABLET)
    assert [(s.first_day, s.mg_per_day) for s in dose.steps] == [(0, 12.5), (1, 25), (2, 50)]
    assert dose.first_mg_per_day == 12.5


@pytest.mark.parametrize(("text", "fields", "ordered", "taken"), [("500 mg at night", 100, 500, 100), ("100 mg at night", 500, 500, 100)])  # fmt: skip
def test_text_and_fields_that_contradict_each_other(
    text: str, fields: float, ordered: float, taken: float
) -> None:
    lines = [_line(fields, text=text)]
    assert read_dose(lines, TABLET).mg_per_day == ordered
    assert read_dose(lines, TABLET, lower=True).mg_per_day == taken
    assert "by its text" in words(read_dose(lines, TABLET).two_ways)
    assert not read_dose([_line(300, text="3 tablets nocte")], TABLET).two_ways
    assert not read_dose([_line(300, text="as agreed")], TABLET).two_ways


def test_volume_needs_a_concentration() -> None:
    assert read_dose([_line(2, "mL")], LIQUID).mg_per_day == 100
    assert "concentration" in words(read_dose([_line(2, "mL")], TABLET).unreadable)


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
    assert why in words(dose.unreadable)


def test_tablets_of_unknown_strength_are_unreadable() -> None:
    assert "strength" in words(read_dose([_line(3, "tablet")], Strength()).unreadable)


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


@pytest.mark.parametrize(
    ("denominator", "per_unit", "per_ml"),
    [
        ({"value": 1, "unit": "tablet"}, 100, None),
        ({"value": 1}, 100, None),
        ({"value": 1, "unit": "1"}, 100, None),
        ({"value": 1, "system": "http://snomed.info/sct", "code": "732936001"}, 100, None),
        ({"value": 1, "unit": "comprimé"}, 100, None),
        ({"value": 2, "unit": "mL"}, None, 50),
        ({"value": 100, "unit": "MG"}, None, None),
        ({"value": 1, "unit": "g"}, None, None),
        ({"value": 1, "unit": "h"}, None, None),
        ({"value": 1, "unit": "blister"}, None, None),
        ({"value": 1, "unit": "tbl", "code": "{tbl}"}, 100, None),
        ({"value": 1, "unit": "TAB"}, 100, None),
        ({"value": 1, "unit": "mL", "code": "mL"}, None, 100),
        ({"value": 0.1, "unit": "L"}, None, 1),
        ({"value": 1, "unit": "tablet", "code": "mL"}, None, None),
        ({"value": 1, "unit": "L", "code": "mL"}, None, None),
        ({"value": 100, "code": "mg", "system": "http://unitsofmeasure.org"}, None, None),
        ({"value": 24, "unit": "h"}, None, None),
        ({"value": 0, "unit": "tablet"}, None, None),
        ({"value": -1, "unit": "tablet"}, None, None),
        ({"value": True, "unit": "tablet"}, None, None),
        ({"value": "1", "unit": "tablet"}, None, None),
        (None, 100, None),
    ],
)
def test_a_strength_is_that_of_a_tablet_or_a_volume(
    denominator: Any, per_unit: float | None, per_ml: float | None
) -> None:
    found = strength_of_ratio({"numerator": {"value": 100, "unit": "mg"}, "denominator": denominator})
    assert (found.mg_per_unit, found.mg_per_ml) == (per_unit, per_ml)


@pytest.mark.parametrize(
    ("numerator", "per_unit"),
    [
        ({"value": 0.1, "unit": "g"}, 100),
        ({"value": 100, "unit": "mg", "code": "mg"}, 100),
        ({"value": 100, "unit": "milligram", "code": "mg"}, 100),
        ({"value": 100, "unit": "mg", "code": "g"}, None),
        ({"value": 100, "unit": "%"}, None),
        ({"value": 100}, None),
        ({"value": 0, "unit": "mg"}, None),
        ({"value": -100, "unit": "mg"}, None),
        ({"value": True, "unit": "mg"}, None),
        ({"value": "100", "unit": "mg"}, None),
    ],
)
def test_a_strength_is_a_mass(numerator: Any, per_unit: float | None) -> None:
    found = strength_of_ratio({"numerator": numerator, "denominator": {"value": 1, "unit": "tablet"}})
    assert found.mg_per_unit == per_unit


def test_strengths_that_disagree_count_no_tablets() -> None:
    code, name = Strength(25, read_from=BY_CODE), Strength(100, read_from=BY_NAME)
    found = agreed((Strength(), code, name))
    assert "25 mg by the product code, 100 mg by the product name" in words(
        read_dose([_line(2, "tablet")], found).unreadable
    )
    assert "25 mg by the product code" in words(read_dose([{"text": "2 tablets nocte"}], found).unreadable)
    in_mg = read_dose([_line(200)], found)
    assert in_mg.mg_per_day == 200
    assert any("100 mg by the product name" in words(note) for note in in_mg.notes)
    assert agreed((code, Strength(25, read_from=BY_NAME), Strength(mg_per_ml=50))).mg_per_unit == 25


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
