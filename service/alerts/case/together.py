"""How long another drug has been taken beside clozapine, and the clozapine dose before it (clinical.md 2.4)."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, span_of
from service.alerts.facts.patient import Medication

#: A record that begins at latest the day after another one ended goes on with it: that is how calendar days meet.
_NEXT_DAY = timedelta(days=1)


def _begun(m: Medication) -> datetime | None:
    return m.start or m.authored


def _records(case: Case, drug_id: str) -> list[Medication]:
    return [m for m in case.snapshot.medications if m.systemic and drug_id in m.drugs]


def taken_since(case: Case, drug_id: str) -> datetime | None:
    """Since when a drug is taken without a break, over all its records; None: it is not taken yet, or no record tells since when.

    A renewal takes up the order it replaces, or one that ended the day before.
    """
    if drug_id not in case.taken_since:
        case.taken_since[drug_id] = _unbroken_since(case, _records(case, drug_id))
    return case.taken_since[drug_id]


def _unbroken_since(case: Case, records: list[Medication]) -> datetime | None:
    if len(records) == 1:
        return _begun(records[0]) if is_live(records[0], case.as_of) else None
    dated = [at for m in records if is_live(m, case.as_of) and (at := _begun(m)) is not None]
    if not dated:
        return None
    since = min(dated)
    taken_up: set[str] = set()
    with_start = [(at, m) for m in records if (at := _begun(m)) is not None]
    for begun, m in sorted(with_start, key=lambda found: found[0], reverse=True):
        span = span_of(m, case.as_of)
        if span is None:
            continue
        if begun >= since or m.ref in taken_up or span.end + _NEXT_DAY >= since:
            since = min(since, begun)
            taken_up.update(m.replaces)
    return since


def clozapine_dose_before(case: Case, drug_id: str) -> float | None:
    """Daily dose of clozapine just before the drug was added, mg; None when no record tells.

    While the drug is only ordered that is the dose of today. Where no record tells since when it is taken, the highest dose of
    the course has to stand for it.
    """
    if not any(is_live(m, case.as_of) for m in _records(case, drug_id)):
        return case.established_mg_per_day
    since = taken_since(case, drug_id)
    if since is not None:
        return case.mg_per_day_before(since)
    began = case.course.start
    doses = [
        m.dose.mg_per_day
        for m in case.clozapine_records
        if m.dose is not None and m.dose.mg_per_day and (began is None or m.start is None or m.start >= began)
    ]
    return max(doses, default=None)
