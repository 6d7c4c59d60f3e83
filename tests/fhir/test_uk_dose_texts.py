"""Dose texts of UK practices, drawn at random from those that are read: none is read wrongly, none is lost. And the tool that measures a whole list.

``uk-dose-texts.csv``: 300 of the 56 114 distinct texts of github:Selbosh/doseminer (tests/common_doses_textmining.csv at commit 7794ef6, MIT licence,
(c) 2021 David Selby / University of Manchester); ``rank``: how common it is among them; ``mg_per_day``: of tablets of 100 mg.

How the values came about: the doses were this service's own reading first, looked at one by one. They were then read a second time, from the
texts alone, without sight of the first reading, and written down before the two were compared: all 300 agreed. A range counts by its upper
end, "when required" as if always taken, "every other day" by the day on which it is taken. Two texts say less than they seem to, and are taken
by their letter: "10 every morning" (ten tablets, not 10 mg) and "1 blister" (one dose, not a card of them). The sample shows that what is read
is read rightly; it says nothing about what is not read.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from service.judge import read_dose
from tools.dose_texts import PRODUCT, changes, main, readings, share

_FILE = Path(__file__).with_name("uk-dose-texts.csv")
_ROWS = list(csv.DictReader(_FILE.read_text(encoding="utf-8").splitlines()))


def test_the_sample_is_whole() -> None:
    assert len(_ROWS) == 300
    assert len({row["rank"] for row in _ROWS}) == 300


def test_each_text_is_read_as_a_reader_reads_it() -> None:
    for row in _ROWS:
        read = read_dose(row["text"], PRODUCT)
        assert read.mg_per_day == pytest.approx(float(row["mg_per_day"])), row["text"]


_TEXTS = [{"text": "one at night"}, {"text": "as directed"}, {"text": "two at night"}]


def test_the_share_that_is_read_is_weighted_by_count_or_by_rank() -> None:
    of = readings(_TEXTS, "text")
    assert [r.mg_per_day for r in of] == [100, None, 200]
    assert share(of, weighted=False) == pytest.approx(200 / 3)
    assert share(of, weighted=True) == pytest.approx(100 * (1 + 1 / 3) / (1 + 1 / 2 + 1 / 3))
    counted = readings([row | {"count": n} for row, n in zip(_TEXTS, "172", strict=True)], "text")
    assert share(counted, weighted=True) == pytest.approx(30)
    assert share([], weighted=True) == 0


def test_what_changed_is_told_by_its_kind() -> None:
    found = changes(
        readings(_TEXTS, "text"), {"one at night": "", "as directed": "300", "two at night": "100"}
    )
    assert found.gained == [("one at night", "", "100")]
    assert found.lost == [("as directed", "300", "")]
    assert found.otherwise == [("two at night", "100", "200")]
    unchanged = changes(readings(_TEXTS, "text"), {"two at night": "200"})
    assert (unchanged.lost, unchanged.gained, unchanged.otherwise) == ([], [], [])


def test_a_file_is_measured_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, kept = tmp_path / "texts.csv", tmp_path / "kept.csv"
    texts.write_bytes(b"n,PRESCRIPTION\n1,one at night\n2,\xa3 two at night\n")
    assert main([str(texts), "--write", str(kept)]) == 0
    assert capsys.readouterr().out.startswith("1 of 2 texts are read (50.0 of 100; weighted 66.7)\n")
    texts.write_bytes(b"n,PRESCRIPTION\n1,one at night\n2,\xa3 two at night\n")
    kept.write_text(kept.read_text().replace("one at night,100", "one at night,300"))
    assert main([str(texts), "--against", str(kept)]) == 0
    assert "lost: 0\ngained: 0\nread otherwise: 1\n  one at night | 300 -> 100\n" in capsys.readouterr().out
