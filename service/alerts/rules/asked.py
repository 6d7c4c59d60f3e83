"""When a rule is asked at all. Most rules have nothing to look at in most calls: no troponin, no problem list, no visit.

``@when`` is an index, not the condition: a rule still looks for itself, and asked without need it finds nothing
(``tests/alerts/test_asked.py`` holds both against each other). So a rule without ``@when`` is always asked, and a case
whose situation cannot be told is put to every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from service.alerts.case.case import Case
from service.alerts.case.course import Course
from service.alerts.case.order_at_hand import is_blank_order
from service.alerts.say.finding import Finding
from service.alerts.say.found import Found

Rule = Callable[[Case], Iterable[Finding] | Iterable[Found]]
R = TypeVar("R", bound=Rule)

#: What ``@when`` may name, besides the kinds of results (``knowledge/codes.toml``): those are on record, usable or not.
SITUATIONS = frozenset(
    {
        "drafted",  # an order of the call starts or continues clozapine
        "stop-drafted",  # an order of the call stops clozapine
        "starting",
        "continuing",
        "taking",
        "perhaps-taking",  # an order that was carried out is over, since when nobody knows
        "stopped",  # the course has ended
        "last-dose-known",
        "interrupted",  # a break in the course, lasting or over, or one of unknown length that is only said
        "supply-ordered",  # a clozapine draft, or a new order to go home with, says for how many days
        "no-anc",  # no usable ANC is on record
        "abnormal-count",  # any ANC or WBC, or a preliminary one, may lie outside the normal band
        "unusable-count",  # a count that the policy judges cannot be used
        "visit",  # no order is being placed
        "other-order",  # an order is being placed, but none of clozapine
        "blank-order",  # an order is being written, and its drug has not been chosen
        "wbc-judged",  # the policy judges the white cell count
        "pathway",  # the site wants information on treatment resistance
        "problems",
        "allergies",
        "stated",  # a clinician stated something in the registry
        "coded",  # answers that are no number: smoking, pregnancy
    }
)
#: The question concerns clozapine at all (``Case.relevant``).
RELEVANT = ("drafted", "stop-drafted", "taking")
#: The same, or clozapine may be taken on (``Case.endangered``).
ENDANGERED = (*RELEVANT, "perhaps-taking")
_NEEDS: dict[Rule, tuple[frozenset[str], ...]] = {}
_ECONOMICAL: set[Rule] = set()
#: Situations that are remembered with their rules; there are far fewer.
_REMEMBERED = 4096


def when(*words: str) -> Callable[[R], R]:
    """The rule can have something to say only in one of these situations, or with one of these results; of several decorators each holds."""

    def indexed(rule: R) -> R:
        _NEEDS[rule] = (frozenset(words), *_NEEDS.get(rule, ()))
        return rule

    return indexed


def when_it_bears(rule: R) -> R:
    """While another drug than clozapine is ordered the rule says only what is critical: the rest is for the next visit."""
    _ECONOMICAL.add(rule)
    return rule


def needs_of(rule: Rule) -> tuple[frozenset[str], ...]:
    """What must hold for a rule to be asked: of every set one word."""
    return _NEEDS.get(rule, ())


def situation_of(case: Case) -> frozenset[str]:
    """What the case is about, in the words of ``@when``."""
    return frozenset((*case.present, *_words(case)))


def _words(case: Case) -> list[str]:
    """The situations of a case, always in the same order."""
    snapshot, course = case.snapshot, case.course
    unusable = case.anc.unusable or (case.uses_wbc and case.results("wbc").unusable)
    situations: tuple[tuple[str, object], ...] = (
        ("drafted", case.clozapine_drafts),
        ("stop-drafted", case.stop_drafts),
        ("starting", case.starting),
        ("continuing", case.continuing),
        ("taking", case.on_clozapine),
        ("perhaps-taking", case.endangered and not case.relevant),
        ("stopped", course.stopped_at is not None),
        ("last-dose-known", course.last_dose is not None),
        ("interrupted", _is_interrupted(course)),
        (
            "supply-ordered",
            any(d.days_supply for d in (*case.clozapine_drafts, *case.orders_to_go_home_with)),
        ),
        ("no-anc", case.anc.newest is None),
        ("abnormal-count", case.any_abnormal_count),
        ("unusable-count", unusable),
        ("visit", not case.is_order_hook),
        ("other-order", _is_elsewhere(case)),
        ("blank-order", is_blank_order(case)),
        ("wbc-judged", case.uses_wbc),
        ("pathway", case.practice.pathway),
        ("problems", snapshot.problems),
        ("allergies", snapshot.allergies),
        ("stated", snapshot.flags),
        ("coded", snapshot.coded),
    )
    return [word for word, holds in situations if holds]


def _is_interrupted(course: Course) -> bool:
    return bool(
        course.lapsed or course.last_dose_or_earlier or course.breaks or course.restarted_after is not None
    )


def _is_elsewhere(case: Case) -> bool:
    """An order is being placed, but none of clozapine; False where even that cannot be told."""
    try:
        return case.is_order_hook and not case.clozapine_drafts and not case.stop_drafts
    except Exception:
        return False


class RuleBook:
    """The rules, and which of them a case is put to."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._everything = {
            elsewhere: tuple((rule, elsewhere and rule in _ECONOMICAL) for rule in self.rules)
            for elsewhere in (False, True)
        }
        self._asked: dict[tuple[object, ...], tuple[tuple[Rule, bool], ...]] = {}

    def asked(self, case: Case) -> tuple[tuple[Rule, bool], ...]:
        """(rule, whether only what is critical counts) of the rules that may have something to say."""
        try:
            key = (case.present, *_words(case))
        except Exception:
            # What is wrong with the case is each rule's to meet: none of them stays silent for it.
            return self._everything[_is_elsewhere(case)]
        found = self._asked.get(key)
        if found is None:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            found = self._asked[key] = self._select(situation_of(case))
        return found

    def _select(self, situation: frozenset[str]) -> tuple[tuple[Rule, bool], ...]:
        blank, elsewhere = "blank-order" in situation, "other-order" in situation
        return tuple(
            # While nothing is chosen only what is critical is said: the EHR calls again when it is.
            (rule, blank or (elsewhere and rule in _ECONOMICAL))
            for rule in self.rules
            if all(not need.isdisjoint(situation) for need in needs_of(rule))
        )
