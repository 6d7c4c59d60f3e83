"""Results that the EHR moved to another patient: the first one loses them at the next reading, not at the next whole one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Engine, select, update

from service.alerts.case import remembered
from service.fhir.resources import Resource
from service.options.site import Site
from service.registry.exchange import patient_of
from service.registry.roster import case_of
from service.registry.standing import columns_of, standing_of
from service.store.roster_tables import RegisteredPatient

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_REFERENCE = re.compile(r'"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})"')
_BATCH = 200


def owned(resources: Iterable[Resource], patient: str, own_base: str) -> dict[str, str]:
    """Reference -> patient, of the resources that name this patient as theirs."""
    return {
        f"{type(r).__name__}/{r.id}": patient
        for r in resources
        if r.id and patient_of(r, own_base) == patient
    }


def forget_elsewhere(engine: Engine, site: Site, owners: Mapping[str, str], now: datetime) -> int:
    """Take results and records off every patient but the one whom the EHR names now; returns how many patients lost any.

    ``owners``: reference of a resource that was just read -> id of its patient.
    """
    if not owners:
        return 0
    lost, last = 0, 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(
                select(_patients.c.id, _patients.c.patient_id, _patients.c.facts)
                .where(
                    _patients.c.site == site.name,
                    _patients.c.state.in_(("on", "stopped")),
                    _patients.c.id > last,
                )
                .order_by(_patients.c.id)
                .limit(_BATCH)
                .with_for_update()
            ).all()
            if not rows:
                return lost
            last = rows[-1].id
            for row in rows:
                gone = {
                    ref
                    for ref in _REFERENCE.findall(row.facts)
                    if ref in owners and owners[ref] != row.patient_id
                }
                if not gone:
                    continue
                try:
                    kept = remembered.without(remembered.load(row.facts), gone)
                except msgspec.ValidationError:
                    continue  # of another version: read anew as a whole
                standing = standing_of(case_of(connection, row.id, kept, site.policy, now))
                connection.execute(
                    update(_patients)
                    .where(_patients.c.id == row.id)
                    .values(facts=remembered.dump(kept), **columns_of(standing))
                )
                lost += 1
