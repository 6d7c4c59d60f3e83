"""What the courses cost in cards, as tables: how often somebody is interrupted without need, and how much is read at a visit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from service.alerts.policy.policy import policy_by_id
from tools.courses.play import VISIT_HOOKS, Answer, is_played, play, week
from tools.courses.story import Course, told

#: The aims: information cards per visit on average, by part of the two years.
AIMS = {"weeks 3-26": 1.0, "later": 0.5}
INTERRUPTIVE = ("critical", "warning")
#: Cards about what was not read: every record of a course can be read, so that none of them may come.
ABOUT_THE_UNREAD = frozenset(
    {"data-unavailable", "anc-unusable", "medication-unrecognized", "dose-unreadable"}
)


class Tally(Struct):
    """The cards of one policy."""

    policy: str
    courses: int = 0
    calls: int = 0
    quiet_calls: int = 0
    #: (severity, code) of interruptive cards in uneventful stretches.
    interruptive: Counter[tuple[str, str]] = {}  # type: ignore[assignment]
    #: Code -> information cards, of the whole two years.
    information: Counter[str] = {}  # type: ignore[assignment]
    visits: Counter[str] = {}  # type: ignore[assignment]
    cards: Counter[str] = {}  # type: ignore[assignment]
    #: Where the interruptive ones were, for whoever looks for the reason.
    places: list[str] = []
    #: Calls of which two cards ask for the same test.
    asked_twice: list[str] = []
    #: Cards about what was not read.
    unread: list[str] = []

    def __post_init__(self) -> None:
        """Counters of its own."""
        self.interruptive, self.information = Counter(), Counter()
        self.visits, self.cards = Counter(), Counter()
        self.places, self.asked_twice, self.unread = [], [], []

    def add(self, course: Course, answers: Iterable[Answer]) -> None:
        """The answers of one course."""
        self.courses += 1
        seen: set[int] = set()
        for answer in answers:
            call = answer.call
            part = week(call.day - course.seen_from if course.seen_from else call.day)
            if course.seen_from:
                part = "later"
            quiet = not course.is_eventful(call.day, self.policy)
            self.calls += 1
            self.quiet_calls += quiet
            if call.hook in VISIT_HOOKS and call.day not in seen:
                seen.add(call.day)
                self.visits[part] += 1
            tests = [test for card in answer.cards for test in card.tests]
            if len(set(tests)) < len(tests):
                self.asked_twice.append(f"{self.policy} {course.id} day {call.day} {call.hook}")
            for card in answer.cards:
                if card.code in ABOUT_THE_UNREAD:
                    self.unread.append(
                        f"{self.policy} {course.id} day {call.day} {call.hook}: {card.code}: {card.summary}"
                    )
                if card.severity == "info":
                    self.cards[part] += 1
                    self.information[card.code] += 1
                elif quiet:
                    self.interruptive[card.severity, card.code] += 1
                    self.places.append(
                        f"{self.policy} {course.id} day {call.day} {call.hook}: {card.severity} {card.code}: {card.summary}"
                    )

    def per_visit(self, part: str) -> float:
        """Information cards per visit."""
        return self.cards[part] / self.visits[part] if self.visits[part] else 0.0

    @property
    def meets_the_aims(self) -> bool:
        """No interruption without need, and little to read."""
        return (
            not self.interruptive
            and not self.asked_twice
            and not self.unread
            and all(self.per_visit(part) <= most for part, most in AIMS.items())
        )


def tally(policy_id: str, courses: Sequence[Course] | None = None) -> Tally:
    """Every course played under a policy."""
    found = Tally(policy_id)
    policy = policy_by_id(policy_id)
    for course in told().course if courses is None else courses:
        if is_played(course, policy):
            found.add(course, play(course, policy_id))
    return found


def table(tallies: Sequence[Tally]) -> str:
    """All policies as a table in Markdown."""
    lines = [
        "| policy | courses | calls | of them uneventful | critical | warning | information per visit, weeks 1–2 | weeks 3–26 | later |"
        " most frequent |",
        "|" + "---|" * 10,
    ]
    for t in tallies:
        by_severity = [
            sum(n for (s, _), n in t.interruptive.items() if s == severity) for severity in INTERRUPTIVE
        ]
        worst = [f"{code} {severity} {n}" for (severity, code), n in t.interruptive.most_common(5)]
        worst += [f"{code} {n}" for code, n in t.information.most_common(5)]
        cells = [
            f"`{t.policy}`",
            t.courses,
            t.calls,
            t.quiet_calls,
            *by_severity,
            *(f"{t.per_visit(part):.2f}" for part in ("weeks 1-2", "weeks 3-26", "later")),
            ", ".join(worst),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
