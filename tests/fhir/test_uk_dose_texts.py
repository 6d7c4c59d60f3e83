"""Dose texts of UK practices, drawn at random from those that are read and checked by hand: none is read wrongly, none is lost.

``uk-dose-texts.csv``: 300 of the 56 114 distinct texts of github:Selbosh/doseminer (tests/common_doses_textmining.csv at commit 7794ef6, MIT licence,
(c) 2021 David Selby / University of Manchester); ``rank``: how common it is among them; ``mg_per_day``: by a reader, of tablets of 100 mg.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from service.judge import read_dose

_ROWS = list(
    csv.DictReader(Path(__file__).with_name("uk-dose-texts.csv").read_text(encoding="utf-8").splitlines())
)


def test_the_sample_is_whole() -> None:
    assert len(_ROWS) == 300
    assert len({row["rank"] for row in _ROWS}) == 300


def test_each_text_is_read_as_a_reader_reads_it() -> None:
    for row in _ROWS:
        read = read_dose(row["text"], "clozapine 100 MG Oral Tablet")
        assert read.mg_per_day == pytest.approx(float(row["mg_per_day"])), row["text"]
