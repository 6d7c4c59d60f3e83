"""The vignettes as pages: nothing of a row is lost, and nothing of its shorthand is left."""

from __future__ import annotations

import re

from tests.alerts.vignette import rows
from tools.vignette_pages import expected, pages, patient, plain

_SHORT = re.compile(r"\b\d+ [dh]\b|\bmr-\d|10\*3|/uL|mm\[Hg\]|not-taken|not-done|on-leave| x[234]\b")
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
#: What a page says in words.
_IN_WORDS = {"x2", "x3", "x4"}


def test_no_shorthand_is_left() -> None:
    left = {name: text for name, _, row in rows() if _SHORT.search(text := patient(row))}
    assert left == {}


def test_no_number_of_a_row_is_lost() -> None:
    lost = {}
    for name, _, row in rows():
        said = set(_NUMBERS.findall(patient(row)))
        for part in ("draft", "on", "given", "dispensed", "stated", "counts"):
            for text in row.get(part, []):
                text = re.sub(r"10\*3|mr-\d|\bx[234]\b|\bevery 1 d\b|(?<![\d-])0 d ago| 0 d\b", "", text)
                if missing := [n for n in _NUMBERS.findall(text) if n not in said]:
                    lost[name] = (text, missing)
    assert lost == {}


def test_every_vignette_is_on_a_page() -> None:
    written = pages("")
    for name, _, row in rows():
        page = written[f"{name.partition(': ')[0]}.md"]
        assert f"| {row['name'].replace('|', chr(92) + '|')} |" in page


def test_a_row_in_words() -> None:
    row = {
        "on": ["clozapine 300 mg since 500 d"],
        "draft": ["clozapine 150 mg x2"],
        "given": ["48 h", "24 h not-done"],
        "counts": ["ANC 1.2 10*3/uL 1 d ago"],
        "expect": ["anc-overdue warning", "missed-dose-retitrate critical"],
    }
    assert patient(row) == (
        "*Ordered:* clozapine 150 mg twice daily. *On record:* clozapine 300 mg a day ordered 500 days ago. "
        "*Chart:* given 48 hours ago; not given 24 hours ago. *Results:* ANC 1.2 ×10³/µL 1 day ago."
    )
    assert expected(row).startswith("**critical** ")
    assert plain("stop clozapine (mr-1)") == "stop clozapine (the second order)"
