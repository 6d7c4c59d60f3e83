"""The roster: enrolling, finding, flagging, merging and deleting patients (contract "Registry")."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, bindparam, delete, false, func, insert, select, update

from service.alerts.case import remembered
from service.alerts.case.case import Case
from service.alerts.facts.patient import ClinicianFlag, PatientSnapshot
from service.alerts.facts.record_text import DOSAGE, NAME, RecordText, to_show
from service.alerts.policy.policy import Policy
from service.fhir.references import is_id
from service.options.site import Site
from service.registry import outbox
from service.registry.standing import columns_of, standing_of
from service.store.roster_tables import Alert, AlertEvent, PatientFlag, RegisteredPatient, Silence
from service.store.tables import CardFeedback, CardShown, ServiceSecret
from service.store.times import aware

log = logging.getLogger("service.registry")
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_flags = PatientFlag.__table__  # type: ignore[attr-defined]
_alerts = Alert.__table__  # type: ignore[attr-defined]
_events = AlertEvent.__table__  # type: ignore[attr-defined]
_silences = Silence.__table__  # type: ignore[attr-defined]
_cards = CardShown.__table__  # type: ignore[attr-defined]
_feedback = CardFeedback.__table__  # type: ignore[attr-defined]
_secrets = ServiceSecret.__table__  # type: ignore[attr-defined]


# Every call on a patient on clozapine ends in these: they are written once, not once per call.
_HELD = (
    select(_patients.c.id, _patients.c.facts, _patients.c.state, _patients.c.facts_at)
    .where(_patients.c.site == bindparam("site"), _patients.c.patient_id == bindparam("patient_id"))
    .with_for_update()
)
_WRITE_LOCK = update(_patients).where(false()).values(site=_patients.c.site)
_KEPT_UP_TO_DATE = update(_patients).where(_patients.c.id == bindparam("row_id"))
_FLAGS = select(_flags).where(
    _flags.c.patient.in_(bindparam("patients", expanding=True)), _flags.c.withdrawn_at.is_(None)
)


class NotRegistered(LookupError):
    """The patient is not in the registry of the site."""


class Deletion(Struct, frozen=True):
    """Proof that a patient was deleted: what went, and a hash of whom."""

    site: str
    patient_hash: str
    deleted_at: datetime
    deleted_by: str
    rows: dict[str, int]


def enrol(
    connection: Connection,
    site: str,
    policy: Policy,
    snapshot: PatientSnapshot,
    as_of: datetime,
    by: str = "hook",
    reread: Collection[str] = frozenset(),
) -> int | None:
    """Remember what a call or a refresh knows of a patient on clozapine; returns the row id. ``reread``: see ``remembered.update``.

    A patient who is not on clozapine is not enrolled (None), but one who is registered is kept up to date, also when
    clozapine has stopped. Patients who were taken off the roster by a person stay off; so do ids that are no FHIR ids, from
    which addresses would be made.
    """
    if not is_id(snapshot.patient_id):
        log.warning("a patient whose id is no FHIR id was not enrolled (site %s, by %s)", site, by[:20])
        return None
    kept = remembered.read_completely(remembered.facts_to_keep(snapshot), as_of.astimezone(UTC))
    row = _held(connection, site, snapshot.patient_id)
    if row is not None:
        if row.state == "unenrolled":
            return None
        with suppress(
            msgspec.ValidationError
        ):  # facts of an older version: what the call knows replaces them
            kept = remembered.update(
                remembered.load(row.facts), kept, reread, known_at=aware(row.facts_at), as_of=as_of
            )
    case = case_of(connection, row.id, kept, policy, as_of) if row is not None else Case(kept, policy, as_of)
    if row is None and not case.on_clozapine:
        return None
    values = {
        **columns_of(standing_of(case)),
        "policy": policy.id,
        "facts": remembered.dump(kept),
        "facts_at": as_of.astimezone(UTC),
    }
    if row is not None:
        connection.execute(_KEPT_UP_TO_DATE, {"row_id": row.id, **values})
        return int(row.id)
    created = connection.execute(
        insert(_patients).values(
            site=site,
            patient_id=snapshot.patient_id,
            enrolled_at=as_of.astimezone(UTC),
            enrolled_by=by[:200],
            swept_run=0,
            sweeps=0,
            **values,
        )
    )
    return int(created.inserted_primary_key[0])  # type: ignore[index]


def rememberer(
    policy_of: Callable[[str], Policy | None],
) -> Callable[[Connection, str, PatientSnapshot, datetime], None]:
    """What keeps the roster up to date with calls: (connection, site, facts, when they were known); a site without policy enrols nobody."""

    def remember(connection: Connection, site: str, facts: PatientSnapshot, at: datetime) -> None:
        policy = policy_of(site)
        if policy is not None:
            enrol(connection, site, policy, facts, at)

    return remember


def _held(connection: Connection, site: str, patient_id: str) -> Row[Any] | None:
    """The row of a patient, held until the transaction ends: two that learn of a patient at once must not forget each other's facts."""
    if connection.dialect.name != "postgresql":  # SQLite: take the write lock before reading
        connection.execute(_WRITE_LOCK)
    return connection.execute(_HELD, {"site": site, "patient_id": patient_id}).first()


def case_of(
    connection: Connection, patient: int, facts: PatientSnapshot, policy: Policy, as_of: datetime
) -> Case:
    """A registered patient's case: what clinicians stated counts (it may change when the next count is due)."""
    flags = flags_of(connection, [patient]).get(patient, ())
    return Case(msgspec.structs.replace(facts, flags=flags), policy, as_of)


def find(connection: Connection, site: str, patient_id: str) -> Row[Any]:
    """The row of a patient. Raises NotRegistered."""
    row = connection.execute(
        select(_patients).where(_patients.c.site == site, _patients.c.patient_id == patient_id)
    ).first()
    if row is None:
        raise NotRegistered("there is no such patient in the registry of this site")
    return row


def facts_of(
    connection: Connection, site: str, patient_id: str
) -> tuple[PatientSnapshot, datetime, date | None] | None:
    """What the registry knows of a patient, as of when, and since when the course lasts; None when it knows nothing."""
    row = connection.execute(
        select(_patients.c.facts, _patients.c.facts_at, _patients.c.course_start).where(
            _patients.c.site == site, _patients.c.patient_id == patient_id, _patients.c.state != "unenrolled"
        )
    ).first()
    if row is None:
        return None
    try:
        known_at = aware(row.facts_at)
        assert known_at is not None
        return remembered.load(row.facts), known_at, row.course_start
    except msgspec.ValidationError:
        return None


def read_last(row: Any) -> datetime | None:
    """When the record of a patient was read last; a reading that brought nothing new leaves the facts as of before."""
    moments = [at for at in (aware(row.facts_at), aware(row.refreshed_at)) if at is not None]
    return max(moments, default=None)


def read_wholly(row: Any, facts: PatientSnapshot, sources: Sequence[str]) -> datetime:
    """Since when each of several sources was read completely at least once; a result or a call that told of one of them alone does not count.

    A record of an older version does not tell; then it was known when the patient was enrolled, and when the EHR was read last.
    """
    enrolled, refreshed = aware(row.enrolled_at), aware(row.refreshed_at)
    assert enrolled is not None
    moments = (facts.read_at.get(source, enrolled) for source in sources)
    return min(max(at, refreshed) if refreshed is not None else at for at in moments)


def is_on(connection: Connection, site: str, patient_id: str) -> bool:
    """True for a registered patient who was on clozapine when the registry last heard."""
    state = connection.execute(
        select(_patients.c.state).where(_patients.c.site == site, _patients.c.patient_id == patient_id)
    ).scalar()
    return state == "on"


def flags_of(connection: Connection, patients: Sequence[int]) -> dict[int, tuple[ClinicianFlag, ...]]:
    """Flags in force or expired, but not withdrawn, by row id."""
    if not patients:
        return {}
    found: dict[int, list[ClinicianFlag]] = {}
    for row in connection.execute(_FLAGS, {"patients": list(patients)}):
        found.setdefault(row.patient, []).append(flag_in(row))
    return {patient: tuple(flags) for patient, flags in found.items()}


def flag_in(row: Row[Any]) -> ClinicianFlag:
    """The statement of a row."""
    at = aware(row.at)
    assert at is not None
    text = to_show(row.text, DOSAGE)
    return ClinicianFlag(
        row.kind, _word_of(row), at, text, row.continue_at, aware(row.expires), _since(row.details)
    )


def _since(details: Any) -> datetime | None:
    """Since when a statement on treatment holds, as it is kept."""
    text = (details or {}).get("since")
    return datetime.fromisoformat(text) if text else None


def _word_of(row: Row[Any]) -> RecordText:
    """Whose word a statement is, and who entered it where that is another: anybody may write a name."""
    entered = row.entered_by
    word = row.stated_by if entered in ("", row.stated_by) else f"{row.stated_by} (entered by {entered})"
    return to_show(word, 2 * NAME)


def add_flag(
    connection: Connection,
    patient: int,
    flag: ClinicianFlag,
    entered_by: str = "",
    details: dict[str, Any] | None = None,
) -> int:
    """Keep a clinician's statement.

    Args:
        connection: database.
        patient: row id.
        flag: the statement.
        entered_by: the token, where ``flag.by`` is what it says.
        details: what only this kind says (``statements.details_of``).
    """
    since = {"since": flag.since.astimezone(UTC).isoformat()} if flag.since is not None else {}
    created = connection.execute(
        insert(_flags).values(
            patient=patient,
            kind=flag.kind,
            stated_by=flag.by[:200],
            entered_by=entered_by[:200],
            at=flag.at.astimezone(UTC),
            text=flag.text[:500],
            continue_at=flag.continue_at,
            details=(details or {}) | since or None,
            expires=flag.expires.astimezone(UTC) if flag.expires is not None else None,
            withdrawn_by="",
        )
    )
    return int(created.inserted_primary_key[0])  # type: ignore[index]


def withdraw_flag(connection: Connection, patient: int, flag: int, by: str, at: datetime) -> bool:
    """Withdraw a statement; False when there is no such one in force."""
    changed = connection.execute(
        update(_flags)
        .where(_flags.c.id == flag, _flags.c.patient == patient, _flags.c.withdrawn_at.is_(None))
        .values(withdrawn_at=at.astimezone(UTC), withdrawn_by=by[:200])
    )
    return bool(changed.rowcount)


def unenrol(
    connection: Connection, site: str, patient_id: str, by: str, at: datetime, told: Site | None = None
) -> None:
    """Take a patient off the roster; nothing is forgotten, nothing is watched, and what was told of alerts is withdrawn.

    ``told``: the site, whose webhook is told. Raises NotRegistered.
    """
    row = find(connection, site, patient_id)
    connection.execute(
        update(_patients).where(_patients.c.id == row.id).values(state="unenrolled", next_due=None)
    )
    for alert in _live_alerts(connection, row.id):
        _resolve(connection, alert, by, "taken off the roster", at, told)


def enrol_anew(connection: Connection, site: str, patient_id: str, policy: Policy, as_of: datetime) -> str:
    """Watch a patient again who was taken off; returns the state (``on`` | ``stopped``). Raises NotRegistered."""
    row = find(connection, site, patient_id)
    try:
        facts = remembered.load(row.facts)
    except msgspec.ValidationError as error:
        raise NotRegistered("the stored facts are of another version: delete the patient first") from error
    values = columns_of(standing_of(case_of(connection, row.id, facts, policy, as_of)))
    # What happened meanwhile is not among what changed lately: everything is read anew.
    connection.execute(
        update(_patients)
        .where(_patients.c.id == row.id)
        .values(refreshed_at=None, policy=policy.id, **values)
    )
    return str(values["state"])


def _live_alerts(connection: Connection, patient: int) -> Sequence[Row[Any]]:
    return connection.execute(
        select(_alerts).where(_alerts.c.patient == patient, _alerts.c.state != "resolved")
    ).all()


def _resolve(
    connection: Connection, alert: Row[Any], by: str, note: str, at: datetime, told: Site | None
) -> None:
    """A person's act ends an alert."""
    moment = at.astimezone(UTC)
    connection.execute(
        update(_alerts).where(_alerts.c.id == alert.id).values(state="resolved", changed_at=moment)
    )
    event = connection.execute(
        insert(_events).values(
            alert=alert.id, at=moment, what="resolved", severity=alert.severity, summary=alert.summary, by=by[:200], note=note,
        )
    )  # fmt: skip
    number = int(event.inserted_primary_key[0])  # type: ignore[index]
    if told is not None:
        outbox.tell_act(connection, told, alert.id, number, "resolved", at)
    else:
        outbox.withdraw(connection, alert.site, alert.id, number, at)


def merge(
    connection: Connection,
    site: str,
    gone: str,
    into: str,
    policy: Policy,
    as_of: datetime,
    told: Site | None = None,
) -> None:
    """The EHR merged two records: facts, flags and alerts of ``gone`` go to ``into``, which may be new to the registry.

    ``told``: the site whose webhook is told of alerts that go on as one of the other record.
    Raises NotRegistered when ``gone`` is not registered, ValueError when both are the same or ``into`` is no FHIR id.
    """
    if gone == into or not is_id(into):
        raise ValueError("into: the FHIR id of another patient is expected")
    old = find(connection, site, gone)
    new = _held(connection, site, into)
    try:
        other = remembered.load(old.facts)
        kept = remembered.load(new.facts) if new is not None else None
    except msgspec.ValidationError as error:
        raise NotRegistered("the stored facts are of another version: refresh the patients first") from error
    if new is None or kept is None:
        outbox.merged(connection, old.id, into)
        renamed = msgspec.structs.replace(other, patient_id=into)
        connection.execute(
            update(_patients)
            .where(_patients.c.id == old.id)
            .values(patient_id=into, facts=remembered.dump(renamed), refreshed_at=None)
        )
        return
    together = remembered.join(kept, other)
    connection.execute(update(_flags).where(_flags.c.patient == old.id).values(patient=new.id))
    taken = {(a.code, a.subject) for a in _live_alerts(connection, new.id)}
    for alert in _live_alerts(connection, old.id):
        if (alert.code, alert.subject) in taken:
            _resolve(connection, alert, "merge", f"goes on as the alert of {into}", as_of, told)
    outbox.merged(connection, old.id, into)
    connection.execute(update(_alerts).where(_alerts.c.patient == old.id).values(patient=new.id))
    # Whoever was watched under either record is watched on; results are read anew.
    standing = (
        columns_of(standing_of(case_of(connection, new.id, together, policy, as_of)))
        if "unenrolled" not in (old.state, new.state) or old.state != new.state
        else {}
    )
    connection.execute(
        update(_patients)
        .where(_patients.c.id == new.id)
        .values(
            facts=remembered.dump(together),
            facts_at=max(aware(old.facts_at), aware(new.facts_at)),  # type: ignore[type-var]
            refreshed_at=None,
            **standing,
        )
    )
    connection.execute(delete(_patients).where(_patients.c.id == old.id))


def forget(connection: Connection, site: str, patient_id: str, by: str, at: datetime) -> Deletion:
    """Delete a patient with flags, alerts, history and outbox, the overrides in force and what users wrote about the patient's cards.

    Cards and calls stay counted; nothing in them leads to the patient any more. Returns the proof. Raises NotRegistered.
    """
    row = find(connection, site, patient_id)
    own = select(_alerts.c.id).where(_alerts.c.patient == row.id)
    counts = {
        "flags": _count(connection, _flags, _flags.c.patient == row.id),
        "alerts": _count(connection, _alerts, _alerts.c.patient == row.id),
        "history": _count(connection, _events, _events.c.alert.in_(own)),
    }
    connection.execute(delete(_alerts).where(_alerts.c.patient == row.id))
    connection.execute(delete(_flags).where(_flags.c.patient == row.id))
    gone = connection.execute(delete(_patients).where(_patients.c.id == row.id)).rowcount
    counts |= _unlink(connection, site, patient_id)
    digest = hashlib.sha256(f"{site}|{patient_id}".encode()).hexdigest()
    return Deletion(site, digest, at, by, {"patients": gone, **counts})


def key_of(connection: Connection, site: str, patient_id: str) -> str:
    """The keyed hash of a patient; empty where the database has made no key."""
    secret = connection.execute(
        select(_secrets.c.value).where(_secrets.c.name == "patient-key")
    ).scalar_one_or_none()
    return patient_key(bytes.fromhex(secret), site, patient_id) if secret else ""


def _unlink(connection: Connection, site: str, patient_id: str) -> dict[str, int]:
    """Take the patient's keyed hash and what users wrote off the cards, and end the overrides."""
    key = key_of(connection, site, patient_id)
    if not key:
        return {}
    cards = select(_cards.c.uuid).where(_cards.c.patient_key == key)
    overrides = connection.execute(delete(_silences).where(_silences.c.patient_key == key)).rowcount
    comments = connection.execute(
        update(_feedback).where(_feedback.c.card.in_(cards), _feedback.c.comment != "").values(comment="")
    ).rowcount
    connection.execute(update(_cards).where(_cards.c.patient_key == key).values(patient_key=""))
    return {"overrides": overrides, "comments": comments}


def patient_key(key: bytes, site: str, patient_id: str) -> str:
    """The keyed hash by which a patient of a site is known outside the registry."""
    return hmac.digest(key, f"{site}|{patient_id}".encode(), "sha256").hex()


def _count(connection: Connection, table: Any, condition: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())
