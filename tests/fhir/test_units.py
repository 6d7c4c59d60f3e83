"""Units (clinical specification 3.2): every everyday spelling, and nothing guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alerts.facts.reason import Reason, because
from service.alerts.knowledge.codes import conversions, kinds
from service.fhir.units import agreed_conversion, conversion, is_part_of_a_cell, split_text
from tests.data import anc, bundle
from tests.fhir.asking import visit

THOUSANDS = (
    "10*3/uL", "10*9/L", "10^3/uL", "10^9/L", "K/uL", "k/ul", "x10E3/uL", "x10e3/µL", "10^3/µL", "10^3/μL", "thou/mcL", "Thousand/uL",
    "G/L", "x10(9)/L", "x10^9/L", "10E9/L", "x10*3/uL", "K/mm3", "10*3/mm3", "×10⁹/L", "x10⁹/L", "10³/µL", "10*9 /L", "K/mcL", "/nL", "Thousands/uL",
    "10^3/mm³", "1000/mm3", "x1000/uL", "10x3/uL", "10'3/uL", "10**3/uL", "*10^9/L", "E9/L", "103/uL", "109/L", "x10 9/L", "10 exp 9/L", "10E+09/L",
    "10E3/mm3", "10*3.{cells}/uL", "10^3 cells/mm3", "cells x 10^3/uL", "10*3/cumm", "X10(3)/MCL", "Th/cmm", "TH/MM3", "Tsd./µl", "10^3/microliter", "billion/L",
    "x10<sup>9</sup>/L", "10<sup>3</sup>/&micro;L", "10^3/&#181;L", "10\\S\\3/uL", "10∗3/uL", "ｋ/uL", "10³/㎣", "千/μL", "Tausend/µl", "exp9/L",
)  # fmt: skip
ONES = (
    "/uL",
    "{cells}/uL",
    "cells/uL",
    "cells/mm3",
    "/mm3",
    "/µL",
    "/mcL",
    "10*6/L",
    "cells/µL",
    "#/uL",
    "/cu mm",
    "cells/cu.mm",
    "cells per microliter",
    "/mm³",
    "&#47;uL",
    "Zellen/µl",
    "cellules/mm3",
    "cellen/µl",
    "células/mm3",
    "elementi/mmc",
    "個/μL",
)


@pytest.mark.parametrize("unit", THOUSANDS)
def test_thousands_per_microlitre(unit: str) -> None:
    found = conversion("count", unit)
    assert found is not None
    assert found.factor == 1000


@pytest.mark.parametrize("unit", ONES)
def test_cells_per_microlitre(unit: str) -> None:
    found = conversion("count", unit)
    assert found is not None
    assert found.factor == 1


@pytest.mark.parametrize(
    ("number", "unit", "is_part"),
    [
        (3.2, "/uL", True),
        (3.25, "cells/mm3", True),
        (12.5, "/uL", True),
        (3.2, "/L", True),
        (0.4, "/uL", False),  # low in whichever unit is meant
        (0.4, "/L", False),
        (3, "/uL", False),
        (0, "/uL", False),
        (45.6, "/uL", False),
        (3200.5, "/uL", False),
        (3.2, "10*3/uL", False),
        (3.2e9, "/L", False),
    ],
)
def test_no_count_has_parts_of_a_cell(number: float, unit: str, is_part: bool) -> None:
    found = conversion("count", unit)
    assert found is not None
    assert is_part_of_a_cell(number, found.factor) is is_part
    answer = visit(counts=bundle(anc(number, unit=unit)))
    assert ("anc-unusable" in answer) is is_part
    if is_part:
        assert "parts of a cell" in answer["anc-unusable"][1]
        assert "anc-severe-neutropenia" not in answer


@pytest.mark.parametrize("text", ["1.200/µl", "3.000 /µL", "12.500 Zellen/µl"])
def test_a_sign_that_may_part_thousands_is_not_read(text: str) -> None:
    assert split_text(text) is None


@pytest.mark.parametrize(
    ("text", "number"), [("1.234 x10^9/L", 1.234), ("0.400/nl", 0.4), ("2.50/µl", 2.5), ("1200/µl", 1200)]
)
def test_where_no_thousands_can_be_meant_it_is(text: str, number: float) -> None:
    parts = split_text(text)
    assert parts is not None
    assert parts[1] == number


def test_cells_per_litre() -> None:
    found = conversion("count", "/L")
    assert found is not None
    assert found.factor * 1.2e9 == pytest.approx(1200)


@pytest.mark.parametrize(
    "unit",
    [
        "",
        "%",
        "g/L",
        "mg/dL",
        "U/L",
        "fl",
        "pg",
        "10*12/L",
        "M/uL",
        "uL",
        "1",
        "cells",
        "10*3",
        "10*3/L",
        "10*12/uL",
        "10*6/uL",
        "mil/mm3",
        "10-3/uL",
        "K",
        "<b>",
        "&",
        "/mL",
        "3/uL",
        "100/uL",
    ],
)
def test_not_a_count_is_not_guessed(unit: str) -> None:
    assert conversion("count", unit) is None
    assert isinstance(agreed_conversion("count", "", unit), Reason)


def test_code_and_unit_must_agree() -> None:
    assert agreed_conversion("count", "10*3/uL", "K/uL") == conversion("count", "K/uL")
    assert isinstance(agreed_conversion("count", "10*3/uL", "/uL"), Reason)
    assert agreed_conversion("count", "10*3/uL", "%") == because("unit.contradicts", unit="%", code="10*3/uL")
    assert agreed_conversion("count", "%", "10*3/uL") == because("unit.contradicts", unit="10*3/uL", code="%")
    assert isinstance(agreed_conversion("percent", "%", "10*9/L"), Reason)
    assert agreed_conversion("count", "10*3/uL", "x 1000 per cubic mm") == conversion("count", "10*3/uL")


@pytest.mark.parametrize(
    ("dimension", "value", "unit", "canonical"),
    [
        ("crp", 12, "mg/dL", 120),
        ("clozapine-level", 0.35, "mg/L", 350),
        ("clozapine-level", 1070, "nmol/L", 349.7),
        ("temperature", 101.3, "[degF]", 38.5),
        ("hba1c", 48, "mmol/mol", 6.54),
        ("glucose", 7, "mmol/L", 126.1),
        ("weight", 154.3, "lb", 69.99),
    ],
)
def test_other_dimensions(dimension: str, value: float, unit: str, canonical: float) -> None:
    found = conversion(dimension, unit)
    assert found is not None
    assert value * found.factor + found.offset == pytest.approx(canonical, rel=2e-3)


def test_every_kind_has_units() -> None:
    for kind in kinds().values():
        assert kind.dimension == "own-range" or conversions(kind.dimension), kind.id


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1.2 x10^3/uL", ("", 1.2, "x10^3/uL")),
        ("<0.1 K/uL", ("<", 0.1, "K/uL")),
        ("&lt;0.1 K/uL", ("<", 0.1, "K/uL")),
        ("≤0.5 x10<sup>9</sup>/L", ("<=", 0.5, "x10<sup>9</sup>/L")),
        ("1.2 10*3/uL", ("", 1.2, "10*3/uL")),
        ("1200 /uL", ("", 1200, "/uL")),
        ("1.2", None),
        ("1.2 K/uL (L)  see note 3", ("", 1.2, "K/uL (L)  see note 3")),
        ("see comment", None),
        ("1.2-1.4 K/uL", ("", 1.2, "-1.4 K/uL")),
    ],
)
def test_text_values(text: str, parts: object) -> None:
    assert split_text(text) == parts


@given(st.sampled_from(THOUSANDS + ONES), st.floats(0.01, 90))
def test_the_unit_in_which_a_count_is_written_never_matters(unit: str, thousands: float) -> None:
    found = conversion("count", unit)
    assert found is not None
    written = thousands * 1000 / found.factor
    assert written * found.factor == pytest.approx(thousands * 1000)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("giga.l-1", 1000), ("tys/µl", 1000), ("1/nl", 1000), ("/nL", 1000), ("nL-1", 1000), ("Zellen/nl", 1000), ("10^3/mmc", 1000),
        ("miles/mm3", 1000), ("10*3.uL-1", 1000), ("Zellen/µl", 1), ("/mmc", 1),
    ],
)  # fmt: skip
def test_counts_as_european_laboratories_write_them(unit: str, factor: float) -> None:
    found = conversion("count", unit)
    assert found is not None
    assert found.factor == pytest.approx(factor)


@pytest.mark.parametrize("unit", ["mg.l-1", "nl", "tys", "giga", "Zellen", "g.l-1", "mmol.l-1"])
def test_what_is_no_count_stays_none(unit: str) -> None:
    assert conversion("count", unit) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,4 G/L", ("", 0.4, "G/L")), ("< 0,25 10*3/uL", ("<", 0.25, "10*3/uL")), ("12,5 %", ("", 12.5, "%"))],
)
def test_a_decimal_comma_in_a_text(text: str, expected: tuple[str, float, str]) -> None:
    assert split_text(text) == expected


@pytest.mark.parametrize("text", ["1,200 /uL", "1,5.2 G/L", "12,34,5 G/L"])
def test_a_comma_of_which_nobody_knows_gives_no_count(text: str) -> None:
    found = split_text(text)
    assert found is None or conversion("count", found[2]) is None
