"""The course of treatment: the short way for orders that run on says what laying the records over each other says."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from service.alerts.case.course import Course, _running, _runs_on, course_of
from service.alerts.facts.patient import Medication
from service.alerts.policy.parts.breaks import Interruption
from service.alerts.policy.parts.values import Limit
from tests.data import NOW

_STARTS = st.one_of(st.none(), st.integers(-3, 900).map(lambda days: NOW - timedelta(days=days)))


def _order(index: int, start: object, status: str, replaces: tuple[str, ...], reason: str) -> Medication:
    return Medication(
        ref=f"MedicationRequest/{index}",
        role="order",
        drugs=("clozapine",),
        label="clozapine",
        status=status,
        start=start,  # type: ignore[arg-type]
        replaces=replaces,
        stop_reason=reason,
    )


_ORDERS = st.lists(
    st.builds(
        _order,
        st.integers(0, 4),
        _STARTS,
        st.sampled_from(["active", ""]),
        st.sampled_from([(), ("MedicationRequest/1",), ("MedicationRequest/9",)]),
        st.sampled_from(["", "moved"]),
    ),
    max_size=5,
)


_TWO_DAYS = timedelta(days=2)


def _breaks(counts: bool = True) -> Interruption:
    return Interruption(Limit(30, comparator=">=" if counts else ">", source="X"), "")


def _course(records: list[Medication]) -> Course:
    return course_of(records, NOW, _breaks(), shortest_break=_TWO_DAYS, chart_kept=_TWO_DAYS)


@given(_ORDERS, st.booleans())
def test_orders_that_run_on_give_the_same_course_by_the_short_way(
    orders: list[Medication], counts: bool
) -> None:
    running = [o for o in orders if _runs_on(o, NOW)]
    if running:
        with patch("service.alerts.case.course._runs_on", return_value=False):
            long_way = course_of(
                running, NOW, _breaks(counts), shortest_break=_TWO_DAYS, chart_kept=_TWO_DAYS
            )
        assert _running(running, NOW) == long_way


def test_an_order_that_is_still_to_begin_takes_the_long_way() -> None:
    later = _order(1, NOW + timedelta(days=2), "active", (), "")
    course = _course([_order(0, NOW - timedelta(days=9), "active", (), ""), later])
    assert (course.active, course.first_ever) == (True, NOW - timedelta(days=9))
    assert not _course([later]).active
