"""Segmented and band neutrophils (clinical.md 3.1): together they are the ANC, alone a lower bound that counts where nothing better is known."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.knowledge.codes import kinds
from service.fhir.queries import QUERIES
from tests.alerts.test_which_count import band, judge
from tests.data import anc, observation

Json = dict[str, Any]


def _count(code: str, value: float, days: float = 1, **more: Any) -> Json:
    return observation(code, value, "10*3/uL", days, **({"id": f"count-{code}"} | more))


def _share(code: str, value: float, days: float = 1) -> Json:
    return observation(code, value, "%", days, id=f"share-{code}")


@pytest.mark.parametrize("segs", ["30451-9", "768-2"])
@pytest.mark.parametrize("bands", ["26507-4", "763-3"])
def test_segmented_and_band_neutrophils_of_one_sample_are_the_anc(segs: str, bands: str) -> None:
    assert band(_count(segs, 0.9), _count(bands, 0.7)) == ""
    assert band(_count(segs, 0.9), _count(bands, 0.05)) == "anc-moderate-neutropenia"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.4, "anc-severe-neutropenia"),
        (0.9, "anc-moderate-neutropenia"),
        (1.2, "anc-mild-neutropenia"),
        (1.6, ""),
    ],
)
def test_segmented_alone_count_where_nothing_else_is_known(value: float, expected: str) -> None:
    found = judge(_count("768-2", value))
    assert next((f.code for f in found if f.code.startswith(("anc-m", "anc-s"))), "") == expected
    said = "segmented neutrophils only" in " ".join(line for f in found for line in f.why)
    assert said is bool(expected)


def test_the_anc_of_the_sample_counts_not_its_segmented_part() -> None:
    assert band(anc(1.6, 1, id="whole"), _count("30451-9", 0.9)) == ""
    assert band(anc(0.4, 1, id="whole"), _count("30451-9", 1.6)) == "anc-severe-neutropenia"


def test_bands_of_another_sample_are_no_part_of_it() -> None:
    assert band(_count("30451-9", 0.9), _count("763-3", 0.7, 3)) == "anc-moderate-neutropenia"


def test_the_share_of_all_neutrophils_tells_more_than_segmented_ones() -> None:
    white = _count("6690-2", 4.0)
    assert band(white, _count("30451-9", 0.9), _share("770-8", 40)) == ""
    assert band(white, _share("769-0", 22), _share("770-8", 40)) == ""


def test_more_bands_than_half_of_all_cells_are_not_believed() -> None:
    """Some value sets sent all neutrophils under the code of the bands."""
    white = _count("6690-2", 4.0)
    found = judge(white, _share("26508-2", 62))
    assert "anc-unusable" in [f.code for f in found]
    # Beside segmented neutrophils it is left out, and these are the lower bound.
    assert band(white, _share("769-0", 8), _share("26508-2", 62)) == "anc-severe-neutropenia"
    assert band(white, _share("769-0", 8), _share("26508-2", 50)) == ""


@pytest.mark.parametrize("code", ["12227-5", "33256-9"])
def test_white_cells_corrected_for_nucleated_red_cells(code: str) -> None:
    assert band(_count(code, 4.0), _share("23761-0", 10)) == "anc-severe-neutropenia"


def test_the_query_asks_for_every_code_that_is_read() -> None:
    asked = QUERIES["counts"]
    of_counts = [k for k in kinds().values() if k.dimension in ("count", "percent")]
    assert [c for kind in of_counts for c in kind.loinc if f"|{c}" not in asked] == []
