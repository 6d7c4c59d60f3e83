"""The estimated end of orders and statements that are over without a date: between what bounds, and by which witness."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alerts.case.course import course_of
from service.alerts.case.ending import Ending, Renewing, endings_of, is_over_undated
from service.alerts.case.regular_counts import Counting
from service.alerts.facts.patient import Medication
from service.alerts.policy.parts.breaks import Interruption
from service.alerts.policy.parts.values import Limit
from tests.data import NOW


def _ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def _record(
    role: str = "order", start: float | None = 300, status: str = "completed", **more: Any
) -> Medication:
    return Medication(
        ref=more.pop("ref", "MedicationRequest/a"),
        role=role,  # type: ignore[arg-type]
        drugs=("clozapine",),
        label="clozapine",
        status=status,
        start=_ago(start) if start is not None else None,
        **more,
    )


def _counting(*days: float, began: float = 300) -> Counting:
    """Counts so many days ago; sixty days without one are a silence, a year is long, four weeks follow a stop up."""
    times = tuple(sorted(_ago(d) for d in days))
    return Counting(times, _ago(began), ((None, 60.0),), timedelta(days=365), timedelta(days=28))


def _end(*records: Medication, counting: Counting | None = None) -> Ending:
    return endings_of(records, NOW, counting)[id(records[0])]


def _bounds(ending: Ending) -> tuple[float, float | None, float]:
    """(earliest, best, latest) in days ago."""

    def ago(at: datetime | None) -> float | None:
        return (NOW - at).total_seconds() / 86400 if at is not None else None

    earliest, latest = ago(ending.earliest), ago(ending.latest)
    assert earliest is not None
    assert latest is not None
    return earliest, ago(ending.best), latest


def test_without_a_witness_it_may_have_run_on_until_today() -> None:
    ending = _end(_record())
    assert (_bounds(ending), ending.latest_by, ending.best_by) == ((300, None, 0), "", "")


def test_the_last_change_of_the_record_bounds_it_whatever_else_is_said() -> None:
    counting = _counting(*range(0, 300, 28))
    ending = _end(_record(updated=_ago(100)), counting=counting)
    assert (_bounds(ending), ending.latest_by) == ((300, 100, 100), "update")
    assert ending.over_by == _ago(100)


def test_an_order_carried_out_to_its_end_leaves_its_supply() -> None:
    assert _bounds(_end(_record(updated=_ago(100), days_supply=30)))[2] == 70
    assert _bounds(_end(_record(status="stopped", updated=_ago(100), days_supply=30)))[2] == 100


def test_a_change_before_it_was_written_or_after_today_tells_nothing() -> None:
    assert _bounds(_end(_record(updated=_ago(400))))[2] == 0
    assert _bounds(_end(_record(updated=_ago(-3))))[2] == 0


@pytest.mark.parametrize(
    ("witness", "bounds", "by"),
    [
        (_record("administration", 200, ref="MedicationAdministration/1"), (200, 200, 199), "dose"),
        (_record("administration", 200, "not-done", not_taken=True), (300, None, 0), ""),
        (_record("dispense", 200, days_supply=30), (170, 170, 170), "supply"),
        (_record("dispense", 10, days_supply=30), (0, 0, 0), ""),
        (_record("statement", 200, "not-taken", not_taken=True), (300, None, 200), "said"),
        (_record("statement", 280, "stopped", end=_ago(150)), (300, None, 150), "said"),
        (_record(start=200, status="active", ref="MedicationRequest/b"), (300, None, 200), "next"),
        (
            _record(start=200, status="active", end=_ago(90), ref="MedicationRequest/b"),
            (300, None, 90),
            "next",
        ),
        (_record(start=200, status="cancelled", ref="MedicationRequest/b"), (300, None, 0), ""),
        (
            _record(start=200, status="active", ref="MedicationRequest/b", replaces=("MedicationRequest/a",)),
            (200, None, 200),
            "next",
        ),
    ],
)
def test_other_records_bound_it(
    witness: Medication, bounds: tuple[float, float | None, float], by: str
) -> None:
    ending = _end(_record(), witness)
    assert (_bounds(ending), ending.latest_by) == (bounds, by)


def test_the_prescription_could_be_dispensed_no_longer() -> None:
    ending = _end(_record(valid_until=_ago(250)))
    assert (_bounds(ending)[2], ending.latest_by) == (250, "validity")


def test_an_order_seen_active_yesterday_did_not_end_before() -> None:
    ending = _end(_record(seen_active=_ago(1), updated=_ago(0)))
    assert _bounds(ending) == (1, 0, 0)
    assert ending.earliest == _ago(1)


def test_counts_that_kept_coming_show_treatment_and_their_end_its_end() -> None:
    ending = _end(_record(), counting=_counting(*range(20, 300, 28)))
    assert (_bounds(ending), ending.best_by) == ((300, 20, 0), "counts")
    ending = _end(_record(), counting=_counting(*range(104, 300, 28)))
    assert (_bounds(ending), ending.latest_by) == ((300, 104, 44), "counts")


def test_one_count_after_a_silence_shows_nothing() -> None:
    assert _bounds(_end(_record(), counting=_counting(1, *range(150, 300, 28))))[2] == 90


def test_a_year_of_regular_counts_shows_treatment_under_an_order_of_long_ago() -> None:
    order = _record(start=2000)
    assert _bounds(_end(order, counting=_counting(*range(4, 400, 28), began=2000)))[2] == 0
    assert _bounds(_end(order, counting=_counting(*range(4, 200, 28), began=2000)))[2] == 2000 - 365


@pytest.mark.parametrize(("last", "latest"), [(173, 200), (172, 200), (171, 111)])
def test_counts_follow_a_known_end_up_for_four_weeks(last: int, latest: float) -> None:
    """Supply until 200 days ago: counts up to 28 days later are its follow-up; later ones, without a pause, show that it went on."""
    supply = _record("dispense", 230, days_supply=30)
    counts = _counting(*range(last, 300, 14))
    assert _bounds(_end(_record(), supply, counting=counts))[2] == latest


def test_without_counts_it_is_believed_for_a_year() -> None:
    assert _bounds(_end(_record(start=364), counting=_counting()))[2] == 0
    ending = _end(_record(start=400), counting=_counting())
    assert (_bounds(ending)[2], ending.latest_by) == (35, "silence")


def test_a_record_without_a_beginning_is_dated_by_its_last_change_alone() -> None:
    undated = _record(start=None)
    assert endings_of([undated], NOW) == {}
    dated = _record(start=None, updated=_ago(30))
    assert (_end(dated).earliest, _end(dated).latest) == (None, _ago(30))


def test_what_a_statement_says_of_itself_is_nearer_than_its_last_change() -> None:
    said = _record("statement", 300, "stopped", authored=_ago(50), updated=_ago(10))
    assert (_end(said).best, _end(said).best_by, _end(said).latest) == (_ago(50), "said", _ago(50))


@pytest.mark.parametrize(
    ("more", "over"),
    [
        ({}, True),
        ({"status": "stopped"}, True),
        ({"status": "ended"}, True),
        ({"status": "on-hold"}, True),
        ({"status": "active"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "unknown"}, False),
        ({"end": _ago(3)}, False),
        ({"status": "stopped", "end": _ago(-30)}, True),  # an end that was planned
        ({"start": -2}, False),
        ({"role": "statement"}, True),
        ({"role": "statement", "status": "active"}, False),
        ({"role": "statement", "status": "not-taken", "not_taken": True}, False),
        ({"role": "dispense"}, False),
    ],
)
def test_which_records_are_over_without_a_date(more: dict[str, Any], over: bool) -> None:
    assert is_over_undated(_record(**more), NOW) is over


_DAYS = st.integers(0, 900)
_RECORDS = st.lists(
    st.builds(
        _record,
        st.sampled_from(["order", "statement", "dispense", "administration"]),
        st.one_of(st.none(), _DAYS),
        st.sampled_from(["completed", "stopped", "on-hold", "active", "cancelled"]),
        ref=st.sampled_from([f"MedicationRequest/{n}" for n in range(4)]),
        updated=st.one_of(st.none(), _DAYS.map(_ago)),
        end=st.one_of(st.none(), st.none(), _DAYS.map(_ago)),
        days_supply=st.one_of(st.none(), st.integers(1, 60)),
        replaces=st.sampled_from([(), (), ("MedicationRequest/1",)]),
    ),
    max_size=6,
)


@given(_RECORDS, st.one_of(st.none(), st.lists(_DAYS, max_size=8)))
def test_every_estimate_is_in_order_and_lies_before_the_question(
    records: list[Medication], counts: list[int] | None
) -> None:
    counting = _counting(*counts, began=900) if counts is not None else None
    for record in records:
        ending = endings_of(records, NOW, counting).get(id(record))
        if ending is None:
            continue
        known = [at for at in (ending.start, ending.earliest, ending.latest, NOW) if at is not None]
        assert known == sorted(known)
        if ending.best is not None:
            assert ending.best <= ending.latest
        if ending.over_by is not None:
            assert ending.over_by <= ending.latest


_BREAKS = Interruption(Limit(30, comparator=">=", source="X"), "")


@given(_RECORDS)
def test_a_course_never_reaches_beyond_the_question(records: list[Medication]) -> None:
    course = course_of(records, NOW, _BREAKS, shortest_break=timedelta(days=2), chart_kept=timedelta(days=2))
    for at in (course.last_exposure, course.stopped_at, course.start):
        assert at is None or at <= NOW
    if course.ending is not None:
        assert course.active == course.ending.between  # between two prescriptions it may still be taken
        assert course.last_exposure == course.ending.latest
        assert course.stopped_at == (None if course.active else course.ending.latest)


def test_an_order_that_ends_now_without_a_renewal_to_come_is_still_one() -> None:
    course = course_of(
        [_record(start=8, days_supply=8)],
        NOW,
        _BREAKS,
        shortest_break=timedelta(days=2),
        chart_kept=timedelta(days=2),
    )
    assert course.ending is not None
    assert course.ending.between
    assert course.active
    assert course.stopped_at is None


# -- orders for home that were carried out -----------------------------------------------------------------------------------

_RENEWING = Renewing(in_time=timedelta(days=7), alone=timedelta(days=30))


def _carried_out(*records: Medication) -> Ending:
    """The end of the last record, where renewals are reckoned with."""
    return endings_of(records, NOW, None, _RENEWING)[id(records[-1])]


def test_between_two_prescriptions_it_may_be_taken_for_a_week() -> None:
    ending = _carried_out(_record(start=60, updated=_ago(7)))
    assert (_bounds(ending)[2], ending.latest_by, ending.between) == (0, "", True)
    assert ending.over_by == _ago(7)
    ending = _carried_out(_record(start=60, updated=_ago(7.1)))
    assert (_bounds(ending)[2], ending.latest_by, ending.between) == (7.1, "update", False)


@pytest.mark.parametrize(
    "more", [{"status": "stopped"}, {"status": "on-hold"}, {"setting": "inpatient"}], ids=lambda m: str(m)
)
def test_not_where_somebody_stopped_it_nor_on_a_ward(more: dict[str, Any]) -> None:
    assert not _carried_out(_record(start=60, updated=_ago(2), **more)).between


def test_nor_where_the_patient_says_that_it_is_not_taken() -> None:
    said = _record("statement", 1, "not-taken", not_taken=True)
    ending = endings_of((order := _record(start=60, updated=_ago(2)), said), NOW, None, _RENEWING)[id(order)]
    assert not ending.between


def test_a_renewal_in_time_leaves_no_break_and_a_late_one_all_of_it() -> None:
    for renewed, latest in ((24, 24), (22, 30)):
        old = _record(start=60, updated=_ago(30))
        new = _record(start=renewed, status="active", ref="MedicationRequest/b")
        assert _bounds(endings_of((old, new), NOW, None, _RENEWING)[id(old)])[2] == latest


def test_issued_the_day_it_was_written_it_did_not_end_that_day() -> None:
    ending = _carried_out(_record(start=28, updated=_ago(27.5)))
    assert (ending.over_by, _bounds(ending)[2]) == (None, 0)
    assert _carried_out(_record(start=28, status="stopped", updated=_ago(27.5))).over_by == _ago(27.5)


@pytest.mark.parametrize(
    ("starts", "due"),
    [
        ((28,), None),
        ((56, 28), 0),
        ((84, 56, 28), 0),
        ((128, 28), None),  # one long distance is no rhythm
        ((300, 200, 100), 0),
        ((300, 128, 28), -72),  # of two the shorter: later orders are shorter ones
        ((56, 56, 28), 0),  # two strengths of one day
    ],
)
def test_the_rhythm_of_the_orders_tells_when_the_next_is_due(
    starts: tuple[float, ...], due: float | None
) -> None:
    orders = [_record(start=days, ref=f"MedicationRequest/{days}") for days in starts]
    found = _carried_out(*orders).due
    assert found == (None if due is None else _ago(due))


def test_the_supply_it_ordered_tells_it_too() -> None:
    assert _carried_out(_record(start=30, days_supply=28)).due == _ago(2)
    assert _carried_out(_record(start=30, days_supply=28, repeats=2)).due == _ago(-54)


def test_completed_when_all_of_it_was_used_up_it_leaves_nothing() -> None:
    """A gap is counted from then; what may be dangerous still reckons with a last fill."""
    ending = _carried_out(_record(start=60, days_supply=28, updated=_ago(32)))
    assert (ending.over_by, _bounds(ending)[2]) == (_ago(32), 0)
    ending = _carried_out(_record(start=60, days_supply=28, repeats=2, updated=_ago(4)))
    assert ending.over_by == NOW


def test_counts_that_begin_while_the_order_is_valid_show_treatment() -> None:
    """The chart holds the counts of the last months only; the order of long ago was valid until some days ago."""
    recent = _counting(*range(9, 100, 7), began=500)
    assert _bounds(_end(_record(start=500, valid_until=_ago(9)), counting=recent))[1:] == (9, 9)
    assert _bounds(_end(_record(start=500, valid_until=_ago(110)), counting=recent))[2] == 500 - 365
