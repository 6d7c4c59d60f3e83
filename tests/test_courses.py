"""A small sample of ``make courses``: a quiet course stays quiet, and each kind of danger draws its card. The whole takes minutes."""

from __future__ import annotations

import pytest

from service.alerts.policy.policy import policy_by_id, policy_ids
from tools.courses.dangers import Danger, Injection, dangers, injections, missed
from tools.courses.play import is_played
from tools.courses.story import Course, told
from tools.courses.table import tally

_COURSES = {course.id: course for course in told().course}
#: Three schedules and three ways to write a dose; the rest is for ``make courses``.
_SAMPLE = [("man-clinic", "jp-2023"), ("pregnant", "us-label-2025"), ("one-order", "nz-classic")]


def test_there_are_twenty_courses_for_every_policy() -> None:
    for policy_id in policy_ids():
        assert sum(is_played(c, policy_by_id(policy_id)) for c in told().course) >= 20, policy_id


@pytest.mark.parametrize(("course", "policy"), _SAMPLE)
def test_nobody_is_interrupted_while_nothing_happens(course: str, policy: str) -> None:
    found = tally(policy, [_COURSES[course]])
    assert found.places == []
    assert found.asked_twice == []
    assert found.unread == []
    assert found.calls > 80


def test_every_danger_is_told_on_its_day() -> None:
    """Each danger once, under one policy after the other, on days drawn from a fixed seed."""
    silent = [str(m) for injection in _of_all(seed=7) for m in missed(injection)]
    assert silent == []


def _of_all(seed: int) -> list[Injection]:
    policies = policy_ids()
    return [
        next(
            i for i in injections((policies[n % len(policies)],), len(dangers()), seed) if i.danger is danger
        )
        for n, danger in enumerate(dangers())
    ]


def test_a_danger_that_nobody_tells_is_named() -> None:
    """The tool itself can fail: what no rule says is silent."""
    nothing = Danger(id="nothing", hooks=("patient-view",), expect=("ileus",), severity="info")
    course: Course = _COURSES["man-clinic"]
    assert [str(m) for m in missed(Injection(nothing, course, "us-label-2025", 300))] == [
        "nothing on day 300 of man-clinic under us-label-2025, patient-view: no card"
    ]
