"""Text of the record: one line, nothing unseen, never read in part."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alerts.facts.record_text import DOSAGE, NAME, VALUE, one_line, to_read, to_show

_ANY = st.text(st.characters(exclude_categories=()), max_size=300)
_ODD = st.text(st.sampled_from("a1 .\t\n\r\x00\x0b\x1f\x7f\x85\xa0\xad\u200b\u200d\u202e\u2028\u2066\ufeff\ud800\ue000\ufffd"), max_size=60)  # fmt: skip


@given(_ANY | _ODD)
def test_a_text_becomes_one_visible_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert "  " not in line
    assert line == line.strip()
    assert one_line(line) == line
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(_ODD, st.integers(1, 50))
def test_what_is_shown_keeps_to_its_length_and_says_that_it_was_cut(text: str, limit: int) -> None:
    shown, whole = to_show(text, limit), one_line(text)
    assert len(shown) <= limit
    assert shown == whole or shown.endswith("…")


@given(_ODD, st.integers(1, 50))
def test_what_is_read_is_read_whole_or_not_at_all(text: str, limit: int) -> None:
    assert to_read(text, limit) in (None, one_line(text))
    assert (to_read(text, limit) is None) == (len(one_line(text)) > limit or len(text) > 10 * limit)


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ("1.2\x0010*3/uL", "1.2\ufffd10*3/uL"),  # nothing joins what stood apart
        ("1\x000", "1\ufffd0"),
        ("\u202e0021", "\ufffd0021"),  # shown as 1200: it must not be read as 21
        ("1.2\n10*3/uL", "1.2 10*3/uL"),
        ("1.2\u00a010*3/uL", "1.2 10*3/uL"),
        ("cloza\u00adpine\u200b", "clozapine"),
        ("  Take one\r\n\ttablet  ", "Take one tablet"),
        ("\x00\x01\x02", "\ufffd"),
        ("", ""),
    ],
)
def test_examples(sent: str, line: str) -> None:
    assert one_line(sent) == line


@pytest.mark.parametrize("limit", [VALUE, NAME, DOSAGE])
def test_blanks_around_a_text_do_not_count_but_megabytes_are_not_looked_at(limit: int) -> None:
    assert to_read(" " * limit + "x" * limit, limit) == "x" * limit
    assert to_read("x" * (limit + 1), limit) is None
    assert to_read(" " * 10 * limit + "x", limit) is None
    assert to_show("x" * (limit + 1), limit) == "x" * (limit - 1) + "…"
