"""Forty patients for 120 days against a ledger that shares no code with the service: nothing is lost, told twice or told late."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, func, select

from service.options.site import Site
from service.registry import delivery, outbox, people, roster
from service.registry.exchange import import_file
from service.registry.scheduler import read_anew
from service.registry.sweep import start_run, sweep
from service.store.database import engine_for, upgrade
from service.store.roster_tables import Alert, AlertEvent, RegisteredPatient
from service.store.times import aware
from tests.registry.ledger import clinic as story
from tests.registry.ledger.book import CODES, OVERDUE, SEVERE, Book
from tests.registry.ledger.clinic import day_of, morning
from tests.registry.ledger.hospital import Hospital
from tests.server import serving
from tests.sites import site_of

PATIENTS, ALERTS, EVENTS = (t.__table__ for t in (RegisteredPatient, Alert, AlertEvent))
LIVE_FROM = 10
KILLED_ON = 66
BATCH = 7


class Product:
    """The service as the command line drives it: read, sweep, deliver, day by day."""

    def __init__(self, url: str, hospital: Hospital) -> None:
        self.url, self.hospital, self.name = url, hospital, f"site-{uuid4()}"
        self.engine: Engine = engine_for(url)

    def site(self, day: int) -> Site:
        """The settings of a day."""
        return site_of(
            self.name,
            story.ZONE,
            bulk=True,
            policy="us-label-2025" if day < story.POLICY_CHANGES_ON else "eu-smpc-2025",
            fhir_servers=(f"{self.hospital.base_url}/fhir",),
            webhook=f"{self.hospital.base_url}/webhook",
            webhook_secret="0123456789abcdef0123456789abcdef",
            shadow=day < LIVE_FROM,
        )

    def live(self, day: int) -> None:
        """One morning."""
        asyncio.run(self._read(day))
        if day == KILLED_ON:
            self._die(day)
        at = morning(day)
        sweep(self.engine, self.site(day), start_run(self.engine, self.name, at, at), batch=BATCH)
        asyncio.run(self._deliver(day))

    async def _read(self, day: int) -> None:
        async def token() -> str:
            return "token"

        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            await read_anew(self.engine, self.site(day), client, morning(day), token)

    async def _deliver(self, day: int) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            await delivery.deliver(self.engine, self.site(day), client, morning(day), limit=10_000)

    def _die(self, day: int) -> None:
        """A worker that is killed in the middle of its run."""
        site, at = self.site(day), morning(day).isoformat()
        environment = os.environ | {
            "CLOZAPINE_CDS_DATABASE_URL": self.url,
            "CLOZAPINE_CDS_SITE_NAME": self.name,
            "CLOZAPINE_CDS_TIME_ZONE": str(story.ZONE),
            "CLOZAPINE_CDS_POLICY": site.policy.id,
            "CLOZAPINE_CDS_WEBHOOK": str(site.options.webhook),
            "CLOZAPINE_CDS_WEBHOOK_SECRET": "0123456789abcdef0123456789abcdef",
        }
        command = [
            sys.executable,
            "-m",
            "service.cli.main",
            "registry",
            "sweep",
            "--as-of",
            at,
            "--planned-for",
            at,
            "--batch",
            "1",
            "--json",
        ]
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while self._swept(day) < 5 and worker.poll() is None:
            time.sleep(0.002)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert 5 <= self._swept(day) < story.PATIENTS - 2

    def _swept(self, day: int) -> int:
        with self.engine.connect() as connection:
            done = select(func.count()).where(
                PATIENTS.c.site == self.name, PATIENTS.c.swept_at == morning(day)
            )
            return int(connection.execute(done.select_from(PATIENTS)).scalar_one())

    def rows(self) -> dict[str, Any]:
        """The roster, by patient."""
        with self.engine.connect() as connection:
            found = connection.execute(select(PATIENTS).where(PATIENTS.c.site == self.name)).all()
        return {row.patient_id: row for row in found}

    def open(self) -> dict[str, dict[str, str]]:
        """patient -> code -> sentence, of all that is not over."""
        with self.engine.connect() as connection:
            found = connection.execute(
                select(PATIENTS.c.patient_id, ALERTS.c.code, ALERTS.c.summary)
                .join(PATIENTS, PATIENTS.c.id == ALERTS.c.patient)
                .where(ALERTS.c.site == self.name, ALERTS.c.state != "resolved")
            ).all()
        by_patient: dict[str, dict[str, str]] = defaultdict(dict)
        for row in found:
            by_patient[row.patient_id][row.code] = row.summary
        return by_patient

    def alert(self, patient: str, code: str) -> Any:
        """An alert that is not over."""
        with self.engine.connect() as connection:
            return connection.execute(
                select(ALERTS)
                .join(PATIENTS, PATIENTS.c.id == ALERTS.c.patient)
                .where(
                    ALERTS.c.site == self.name,
                    PATIENTS.c.patient_id == patient,
                    ALERTS.c.code == code,
                    ALERTS.c.state != "resolved",
                )
            ).one()


def _start(product: Product, clinic: story.Clinic, folder: Path, book: Book) -> None:
    """The first day's records come as a file; the EHR has them too."""
    lines = []
    for shown in clinic.on(0):
        product.hospital.show(shown.resource, gone=False)
        book.write(shown.resource, gone=False)
        lines.append(json.dumps(shown.resource))
    file = folder / "clinic.ndjson"
    file.write_text("\n".join(lines))
    done = import_file(product.engine, product.site(0), file, morning(0) - timedelta(hours=2))
    assert (done.enrolled, done.problems) == (story.PATIENTS, [])


def _act(product: Product, day: int) -> None:
    """What people do at ten o'clock, and how the service must answer."""
    site, at = product.site(day), morning(day) + timedelta(hours=4.5)
    with product.engine.begin() as connection:
        if day == 30:
            roster.unenrol(connection, site.name, story.OFF_AND_ON, "Dr Hema", at, site)
        if day == 60:
            roster.enrol_anew(connection, site.name, story.OFF_AND_ON, site.policy, at)
        if day == 39:
            roster.merge(connection, site.name, story.TWICE, story.SAME, site.policy, at, site)
        if day == 20:
            alert = product.alert(story.CLOSED, OVERDUE).id
            event = people.close_alert(connection, alert, "Dr Hema", "counted elsewhere", at)
            assert event is not None
            outbox.tell_closed(connection, site, alert, event, at)
        if day == 41:
            alert = product.alert(story.SEVERE, SEVERE).id
            with pytest.raises(people.NotClosable):
                people.close_alert(connection, alert, "Dr Hema", "seen", at)
            event = people.take_in_hand(
                connection, alert, "Dr Hema", at + timedelta(hours=20), "in hospital", at
            )
            assert event is not None
            outbox.tell_act(connection, site, alert, event, "in-hand", at)


def _differences(product: Product, book: Book, day: int) -> list[str]:
    """What the service holds otherwise than the ledger, this morning."""
    today, policy = day_of(day), product.site(day).policy.id
    rows, opened, found = product.rows(), product.open(), []
    for patient in sorted(book.pages):
        if day >= 39 and patient == story.TWICE:
            found += [f"{patient}: still there"] if patient in rows else []
            continue
        row, page = rows[patient], book.page(patient)
        off = patient == story.OFF_AND_ON and 30 < day <= 60
        due = None if off else book.due(patient, today, policy)
        if row.next_due != due and not page.over:
            found.append(f"{patient}: due {row.next_due}, ledger {due}")
        values = [value for _, value in page.by_time()]
        if values and row.last_anc != values[-1]:
            found.append(f"{patient}: last {row.last_anc}, ledger {values[-1]}")
        wanted = {} if off else book.open(patient, today, policy)
        have = {code: said for code, said in opened.get(patient, {}).items() if code in CODES}
        if have.keys() != wanted.keys():
            found.append(f"{patient}: open {sorted(have)}, ledger {sorted(wanted)}")
        found += [
            f"{patient}: {have[c]!r} without {w!r}"
            for c, w in wanted.items()
            if c in have and w not in have[c]
        ]
    return [f"day {day} {f}" for f in found]


def _told(product: Product, day: int) -> list[str]:
    """What the receiver of the webhook believes, against the alerts themselves."""
    found = []
    keys = [key for key, _ in product.hospital.told]
    if len(keys) != len(set(keys)):
        found.append("told twice")
    heard: dict[int, str] = {}
    for _, event in product.hospital.told:
        heard[event["alert"]] = event["what"]
    with product.engine.connect() as connection:
        rows = connection.execute(select(ALERTS).where(ALERTS.c.site == product.name)).all()
    for row in rows:
        last = heard.get(row.id)
        over = last in (None, "resolved")
        if over != (row.state == "resolved"):
            found.append(f"alert {row.id} ({row.code}) is {row.state}, the receiver last heard {last}")
    return [f"day {day} {f}" for f in found]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_120_days_agree_with_the_ledger(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = (
        f"sqlite:///{tmp_path}/ledger.db"
        if kind == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    upgrade(url)
    # On PostgreSQL a sample: through the neutropenias, the days without EHR and the change of the policy.
    days = story.DAYS if kind == "sqlite" else 80
    clinic, book, hospital = story.open_clinic(), Book(), Hospital()
    wrong: list[str] = []
    with serving(hospital.app) as base:
        hospital.base_url = base
        product = Product(url, hospital)
        hospital.now = morning(0)
        _start(product, clinic, tmp_path, book)
        unread: list[story.Shown] = []
        for day in range(days):
            hospital.now, hospital.away = morning(day), day in story.AWAY
            for shown in clinic.on(day) if day else []:
                hospital.show(shown.resource, gone=shown.gone)
                unread.append(shown)
            product.live(day)
            if not hospital.away:
                for shown in unread:
                    # Whom the EHR does not know any more keeps what is known.
                    if not (shown.gone and shown.resource["id"].startswith(story.GONE_FROM_EHR)):
                        book.write(shown.resource, gone=shown.gone)
                unread.clear()
            wrong += _differences(product, book, day)
            if day >= LIVE_FROM:
                wrong += _told(product, day)
            _act(product, day)
        product.engine.dispose()
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:80])
