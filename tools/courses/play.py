"""Playing a course: every call that an EHR and a pharmacy would make, and the cards each of them gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

import cds_hooks
from service.alerts.policy.policy import Policy, policy_by_id
from service.judge import judge
from service.synthetic.coding import Json
from tools.courses.calendar import Calendar, calendar
from tools.courses.record import (
    OPENED,
    ORDERED,
    CourseWriter,
    Drafted,
    Entry,
    moment,
    prefetch,
    shown_at,
)
from tools.courses.story import Course

VISIT_HOOKS = ("patient-view", "encounter-start", "encounter-discharge")
_ORDINARY = timedelta(hours=11)
_SIGNED = ORDERED - timedelta(minutes=1)
_VERIFIED = ORDERED + timedelta(minutes=20)
_REFILLED = ORDERED + timedelta(minutes=40)
_DISCHARGED = timedelta(hours=16)


class Call(Struct, frozen=True):
    """One call: the hook, on which day of the course, and the orders it is about."""

    day: int
    at: datetime
    hook: str
    orders: tuple[Json, ...] = ()


class Card(Struct, frozen=True):
    """What one card says, in short."""

    code: str
    severity: str
    summary: str = ""
    #: Tests that its suggestions order.
    tests: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """One call and its cards."""

    call: Call
    cards: tuple[Card, ...]


class Played(Struct, frozen=True):
    """A course under a policy: its record, its orders, its calendar."""

    course: Course
    policy: Policy
    days: Calendar
    writer: CourseWriter
    entries: list[Entry]
    drafted: tuple[Drafted, ...]


def played(course: Course, policy_id: str) -> Played:
    """A course written down under a policy; nothing is asked yet."""
    policy = policy_by_id(policy_id)
    days = calendar(course, policy)
    writer = CourseWriter(course, policy, days)
    entries = writer.everything()
    return Played(course, policy, days, writer, entries, tuple(writer.drafted))


def is_played(course: Course, policy: Policy) -> bool:
    """False where the story itself would not be uneventful under the policy."""
    if course.needs_ben and not any(b.population == "ben" for b in policy.bands):
        return False
    return policy.id not in course.not_under


def calls(told_under: Played) -> Iterator[Call]:
    """Every call of the course, in order."""
    found = [*_openings(told_under), *_orders(told_under), *_refills(told_under)]
    return iter(sorted(found, key=lambda c: c.at))


def _openings(p: Played) -> Iterator[Call]:
    course = p.course
    for first, last in course.stays:
        for day in range(first, last):
            hook = "encounter-start" if day == first else "patient-view"
            yield Call(day, moment(day, OPENED), hook)
        yield Call(last, moment(last, _DISCHARGED), "encounter-discharge")
    for day in p.days.visits:
        if not course.on_ward(day):
            yield Call(day, moment(day, OPENED), "patient-view")


def _orders(p: Played) -> Iterator[Call]:
    for drafted in p.drafted:
        day = (drafted.at - moment(0)).days
        if day < p.course.seen_from:
            continue
        if drafted.changes:
            yield Call(day, drafted.at - timedelta(minutes=2), "order-select", (drafted.draft,))
        yield Call(day, moment(day, _SIGNED), "order-sign", (drafted.draft,))
        yield Call(day, moment(day, _VERIFIED), "medication-verify", (drafted.signed,))
    for ordered in p.course.orders:
        made = p.writer.named_order(ordered.drug, ordered.day, draft=True)
        yield Call(ordered.day, moment(ordered.day, _ORDINARY), "order-sign", (made,))


def _refills(p: Played) -> Iterator[Call]:
    """At each visit outside a ward the running order is filled again."""
    for day in p.days.visits:
        if day <= 0 or p.course.on_ward(day) or p.course.renewed:
            continue
        running = [d for d in p.drafted if d.at < moment(day, ORDERED)]
        if running:
            yield Call(day, moment(day, _REFILLED), "medication-refill", (running[-1].signed,))


def request(call: Call, resources: Sequence[Json], patient_id: str) -> Json:
    """The hook call as it is sent."""
    context: Json = {"patientId": patient_id, "userId": "Practitioner/synthetic-prescriber"}
    drafts = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": o} for o in call.orders]}
    if call.hook.startswith("encounter"):
        context["encounterId"] = "visit"
    if call.hook in ("order-select", "order-sign"):
        context["draftOrders"] = drafts
    if call.hook == "order-select":
        context["selections"] = [f"{o['resourceType']}/{o['id']}" for o in call.orders]
    if call.hook == "medication-verify":
        context["medication"] = call.orders[0]
    if call.hook == "medication-refill":
        context["medications"] = drafts
    return {
        "hook": call.hook,
        "hookInstance": f"{patient_id}-{call.day}-{call.hook}",
        "context": context,
        "prefetch": prefetch(list(resources)),
    }


def answer(p: Played, call: Call, entries: Sequence[Entry] | None = None) -> Answer:
    """The cards that one call gets."""
    resources = list(shown_at(list(p.entries if entries is None else entries), call.at))
    body = request(call, resources, p.writer.patient_id)
    said = judge(body, policy=p.policy, as_of=call.at)
    return Answer(call, tuple(map(_in_short, said.cards)))


def _in_short(card: cds_hooks.Card) -> Card:
    code = card.source.topic.code if card.source.topic else ""
    ordered = [a.resource for s in card.suggestions for a in s.actions if a.type == "create" and a.resource]
    tests = tuple(str(r["code"]) for r in ordered if r["resourceType"] == "ServiceRequest" and "code" in r)
    return Card(code, card.indicator, card.summary, tests)


def play(course: Course, policy_id: str) -> list[Answer]:
    """Every call of a course under a policy, with its cards."""
    p = played(course, policy_id)
    return [answer(p, call) for call in calls(p)]


def week(day: int) -> str:
    """Which part of the two years a day lies in."""
    if day < 14:
        return "weeks 1-2"
    return "weeks 3-26" if day < 182 else "later"
