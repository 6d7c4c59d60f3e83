"""The length of a course in the words of its instruction; what can mean something else has none."""

from __future__ import annotations

import pytest

from service.fhir.course_text import read_course
from service.judge import judge
from tests.data import NOW, anc, bundle, call, clozapine, day_ago, order, prefetch


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("500 mg twice daily for 7 days", 7),
        ("500 mg bd x 7/7", 7),
        ("bd for 2/52", 14),
        ("1 tablet bd 7 days then stop", 7),
        ("7-day course", 7),
        ("bd for one week", 7),
        ("500 mg 2x täglich für 7 Tage", 7),
        ("1-0-1, 7 Tage lang", 7),
        ("7 Tage, dann absetzen", 7),
        ("500 mg 2 fois par jour pendant 10 jours", 10),
        ("1 cp x 2/j pendant une semaine", 7),
        ("2x daags 500 mg gedurende 7 dagen", 7),
        ("500 mg cada 12 horas durante 7 días", 7),
        ("500 mg ogni 12 ore per 7 giorni", 7),
    ],
)
def test_a_length_in_words_is_read(text: str, days: int) -> None:
    assert read_course(text).days == days


@pytest.mark.parametrize(
    "text",
    [
        "500 mg every 7 days",
        "one every 2 weeks",
        "alle 7 Tage 1 Tablette",
        "1 tab tous les 7 jours",
        "2 per 7 days",
        "1 tablet 5/7",
        "1 tablet 7j/7",
        "250 mg for 3 days, then 500 mg for 4 days",
        "1 tablet for 7 days then 1 weekly",
        "5 mg per 7 giorni, poi 10 mg",
        "bd for 7 days, review",
        "take for at least 7 days",
        "Do not stop for 7 days",
        "2 a day, supply for 28 days",
        "once a day for depression",
        "1/2 tablet daily",
        "500 mg bd for 7 days every month",
        "for 7 days of each cycle",
        "7 Tage lang jeden Monat",
        "pendant 7 jours chaque mois",
        "rescue pack: bd for 7 days",
        "bd for 7 days when chest is bad",
        "bei Bedarf für 7 Tage",
        "",
    ],
)
def test_what_may_go_on_has_no_length(text: str) -> None:
    assert read_course(text).days is None


@pytest.mark.parametrize("text", ["1 bd until finished", "Complete the course", "1-0-1 bis aufgebraucht", "jusqu'à la fin de la boîte", "kuur afmaken", "hasta terminar la caja"])  # fmt: skip
def test_until_it_is_finished(text: str) -> None:
    assert read_course(text).until_finished


@pytest.mark.parametrize(
    ("text", "supplied", "over"),
    [
        ("500 mg bd for 7 days", None, True),
        ("500 mg bd until finished", 7, True),
        ("500 mg bd until finished", None, False),
        ("500 mg bd for 14 days", None, False),
        ("500 mg bd", 7, False),
    ],
)
def test_a_course_of_an_inhibitor_is_over_when_its_words_say_so(
    text: str, supplied: int | None, over: bool
) -> None:
    course = order("ciprofloxacin", id="mr-2", status="active", authoredOn=day_ago(9))
    course["dosageInstruction"] = [{"text": text}]
    if supplied is not None:
        course["dispenseRequest"] = {"expectedSupplyDuration": {"value": supplied, "code": "d"}}
    on = bundle(clozapine(300, id="mr-1", status="active", authoredOn=day_ago(500)), course)
    found = judge(
        call("patient-view", prefetch(medications=on, counts=bundle(anc(3.4, 3)))), as_of=NOW
    ).findings
    codes = {f.code for f in found}
    assert ("interaction-inhibitor-stopped" in codes) is over
    assert ("interaction-cyp1a2-strong-inhibitor" in codes) is not over


@pytest.mark.parametrize(("authored", "over"), [("2026-11", False), ("2026-10", False), ("2026-09", True)])
def test_a_course_of_an_unknown_day_is_over_when_it_is_over_at_the_latest(authored: str, over: bool) -> None:
    course = order("ciprofloxacin", id="mr-2", status="active", authoredOn=authored)
    course["dosageInstruction"] = [{"text": "500 mg bd for 21 days"}]
    on = bundle(clozapine(300, id="mr-1", status="active", authoredOn=day_ago(500)), course)
    found = judge(
        call("patient-view", prefetch(medications=on, counts=bundle(anc(3.4, 3)))), as_of=NOW
    ).findings
    assert ("interaction-cyp1a2-strong-inhibitor" in {f.code for f in found}) is not over
