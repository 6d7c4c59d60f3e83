"""What clinicians state of a patient: kinds, what each must say, and that it is evaluated at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, select

from service.alerts.facts.patient import ClinicianFlag
from service.alerts.facts.record_text import NAME, to_read
from service.options.site import Site
from service.registry import attention, roster
from service.registry.evaluation import reevaluate
from service.store.roster_tables import Alert, RegisteredPatient
from service.store.times import aware

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
#: The answer to a statement that the EHR must carry out.
NOT_THE_EHR = "This does not stop the order in the EHR."
#: Statements that are done only when the EHR shows it.
OF_THE_EHR = frozenset({"hold", "stop", "do-not-rechallenge"})
#: Longer supplies are no hand-out.
_LONGEST_SUPPLY_DAYS = 120
_REASONS = Literal[
    "neutropenia", "infection", "myocarditis", "bowel", "seizure", "other-effect", "missed-doses", "no-counts", "patient-choice", "no-effect", "other",
]  # fmt: skip


class Nothing(Struct, forbid_unknown_fields=True):
    """``ben`` and ``deviation`` say all they say in fields of their own."""


class Halt(Struct, forbid_unknown_fields=True):
    """``hold`` and ``stop``: since when no dose was taken, and why."""

    #: The last dose that was taken: a moment, ISO 8601; the hours of a gap are counted from it.
    lastDose: str
    reason: _REASONS
    #: hold and stop: whether counts go on.
    countsGoOn: bool = True


class Restart(Struct, forbid_unknown_fields=True):
    """``restart``: the first dose that is planned."""

    #: A moment or a date, ISO 8601.
    firstDose: str


class NoRechallenge(Struct, forbid_unknown_fields=True):
    """``do-not-rechallenge``: why, and how strictly."""

    reasons: list[Literal["severe-neutropenia", "red-result", "myocarditis", "ileus", "other"]]
    scope: Literal["never", "only-with-haematologist"] = "never"
    #: The lowest count, cells/µL, and its date.
    nadir: float | None = None
    nadirOn: str | None = None
    #: Number in a national list of patients who are not rechallenged.
    listedAs: str = ""


class Contact(Struct, forbid_unknown_fields=True):
    """``contact``: a try to reach the patient."""

    channel: Literal["telephone", "message", "letter", "visit", "through-others"]
    outcome: Literal["reached", "no-answer", "message-left", "will-come", "declined"]
    #: will-come: the day.
    comesOn: str | None = None


class HandOut(Struct, forbid_unknown_fields=True):
    """``hand-out``: clozapine that was handed out; no dispense record of the EHR."""

    days: int


class Transfer(Struct, forbid_unknown_fields=True):
    """``transfer``: to whom the patient goes. The sender stays responsible."""

    receiver: str
    #: From which day.
    begins: str
    contact: str


#: What the details of each kind must be.
DETAILS: Mapping[str, type[Any]] = {
    "ben": Nothing,
    "deviation": Nothing,
    "hold": Halt,
    "stop": Halt,
    "restart": Restart,
    "do-not-rechallenge": NoRechallenge,
    "contact": Contact,
    "hand-out": HandOut,
    "transfer": Transfer,
}
KINDS = tuple(DETAILS)
#: Reads an ISO 8601 text in the site's zone; None when it is none.
Reading = Callable[[str], datetime | None]


class NotStated(ValueError):
    """A statement that cannot be kept; the message says what is expected."""


def details_of(kind: str, given: Any, now: datetime, read: Reading) -> tuple[dict[str, Any], datetime | None]:
    """Details as they are kept, and since when it holds (``ClinicianFlag.since``). Raises NotStated."""
    shape = DETAILS.get(kind)
    if shape is None:
        raise NotStated(f"kind: one of {', '.join(KINDS)} is expected.")
    try:
        said = msgspec.convert(given if given is not None else {}, shape)
    except msgspec.ValidationError as error:
        raise NotStated(f"details of {kind}: {error}.") from None
    since = _since(said, now, read)
    return {name: _kept(name, value) for name, value in msgspec.structs.asdict(said).items()}, since


def _kept(name: str, value: Any) -> Any:
    """Texts on one line and of a length that is kept; of a list each word once. Raises NotStated."""
    if isinstance(value, list):
        return list(dict.fromkeys(value))
    if not isinstance(value, str):
        return value
    text = to_read(value, NAME)
    if text is None:
        raise NotStated(f"{name}: at most {NAME} characters are expected.")
    return text


def _since(said: Any, now: datetime, read: Reading) -> datetime | None:
    match said:
        case Halt():
            at = _moment("lastDose", said.lastDose, read)
            if at > now:
                raise NotStated("lastDose: it lies in the future.")
            return at
        case Restart():
            return _moment("firstDose", said.firstDose, read)
        case NoRechallenge():
            if not said.reasons:
                raise NotStated("reasons: one at least is expected.")
            if said.nadir is not None and not 0 <= said.nadir < 10_000:
                raise NotStated("nadir: a count in cells/µL is expected, such as 400.")
            _day("nadirOn", said.nadirOn)
        case Contact():
            if (said.outcome == "will-come") != (said.comesOn is not None):
                raise NotStated("comesOn: the day is expected with the outcome will-come, and only with it.")
            _day("comesOn", said.comesOn)
        case HandOut():
            if not 1 <= said.days <= _LONGEST_SUPPLY_DAYS:
                raise NotStated(f"days: 1 to {_LONGEST_SUPPLY_DAYS} are expected.")
        case Transfer():
            _day("begins", said.begins)
            if not said.receiver.strip() or not said.contact.strip():
                raise NotStated("receiver and contact: both are expected.")
    return None


def _moment(name: str, text: str, read: Reading) -> datetime:
    at = read(text)
    if at is None:
        raise NotStated(f"{name}: a moment is expected (ISO 8601), such as 2026-11-25T22:00.")
    return at


def _day(name: str, text: str | None) -> None:
    if text is None:
        return
    try:
        date.fromisoformat(text)
    except ValueError:
        raise NotStated(f"{name}: an ISO 8601 date is expected, such as 2026-11-27.") from None


def state(
    connection: Connection,
    site: Site,
    patient: int,
    flag: ClinicianFlag,
    details: dict[str, Any],
    entered_by: str,
    now: datetime,
) -> dict[str, Any]:
    """Keep a statement and evaluate its patient (row id) in the same transaction; what stood before, and what stands now."""
    before = view_of(connection, patient)
    number = roster.add_flag(connection, patient, flag, entered_by, details)
    reevaluate(connection, site, patient, now, flag.by)
    answer = {"id": number, "before": before, "after": view_of(connection, patient)}
    return answer | ({"says": NOT_THE_EHR} if flag.kind in OF_THE_EHR else {})


def withdraw(
    connection: Connection, site: Site, patient: int, flag: int, by: str, now: datetime
) -> dict[str, Any] | None:
    """Withdraw a statement and evaluate its patient; None when there is no such one in force."""
    before = view_of(connection, patient)
    if not roster.withdraw_flag(connection, patient, flag, by, now):
        return None
    reevaluate(connection, site, patient, now, by)
    return {"withdrawn": flag, "before": before, "after": view_of(connection, patient)}


def view_of(connection: Connection, patient: int) -> dict[str, Any]:
    """Where a patient (row id) stands: when the next count is due, what must be done, which alerts are not over."""
    row = connection.execute(
        select(
            _patients.c.state,
            _patients.c.interval_days,
            _patients.c.next_due,
            _patients.c.attention,
            _patients.c.attention_since,
        ).where(_patients.c.id == patient)
    ).one()
    alerts = connection.execute(
        select(_alerts.c.id, _alerts.c.code, _alerts.c.severity, _alerts.c.state, _alerts.c.summary)
        .where(_alerts.c.patient == patient, _alerts.c.state != "resolved")
        .order_by(_alerts.c.severity_rank.desc(), _alerts.c.id)
    )
    return {
        "state": row.state,
        "interval_days": row.interval_days,
        "next_due": row.next_due,
        "attention": attention.WORDS[row.attention],
        "attention_since": aware(row.attention_since),
        "alerts": [dict(a._mapping) for a in alerts],
    }
