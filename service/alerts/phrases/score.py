"""A symptom score in words."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.response import newest_function
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.result import (
    on_day,
)
from service.alerts.say.sentence import (
    Number,
    Sentence,
    Term,
    sentence,
)


def score(m: Measurement) -> Sentence:
    """``PANSS 84``."""
    return sentence("pathway.score", scale=scale(m), score=Number(m.value))


def scale(m: Measurement) -> Term:
    """The name of the scale of a score."""
    return Term("scale", m.kind, m.kind.upper())


def function_lines(case: Case) -> Iterator[Sentence]:
    """How the person manages in daily life by the newest score of that, if there is one."""
    found = newest_function(case)
    if found is not None:
        word = "impaired" if found[1] else "fair"
        yield sentence(f"pathway.function-{word}", score=score(found[0]), day=on_day(case, found[0]))
