"""Subscriptions are made once, kept, and put right at an EHR that may do anything with them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select

from service.options.options import BackendClient, SiteOptions, check_told
from service.options.site import Site
from service.store.subscription_tables import KeptSubscription, ToRead
from service.subscriptions import kept
from service.subscriptions.keeping import Kept, keep
from tests.command import command
from tests.data import NOW
from tests.registry.roster import ZONE, anc, facts, register
from tests.registry.test_calls import StartService
from tests.results.bundles import count
from tests.server import serving
from tests.sites import site_of
from tests.subscriptions.subscribing_ehr import SubscribingEhr

TO_READ, ROWS = ToRead.__table__, KeptSubscription.__table__
COUNTS = "Observation?category=laboratory"
TOPIC = "https://ehr.example/topics/lab-result"


@pytest.fixture
def ehr() -> Iterator[SubscribingEhr]:
    """An EHR that keeps Subscriptions."""
    server = SubscribingEhr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


class Keeping:
    """Looks at the EHR at any moment."""

    def __init__(self, engine: Engine, site: str, ehr: SubscribingEhr, folder: Path) -> None:
        self.engine, self.ehr = engine, ehr
        (folder / "key.pem").write_bytes(ehr.pem)
        self.backend = BackendClient(
            client_id="c", token_url=f"{ehr.base_url}/token", key_file=folder / "key.pem", key_id="k1"
        )
        self.name = site
        self.site = self.with_options()

    def with_options(self, **more: Any) -> Site:
        given: dict[str, Any] = {
            "subscriptions": "r4", "subscription_criteria": (COUNTS,), "fhir_servers": (f"{self.ehr.base_url}/fhir",), "backend": self.backend,
        } | more  # fmt: skip
        self.site = site_of(self.name, ZONE, **given)
        return self.site

    def __call__(self, at: datetime = NOW) -> Kept:
        async def token() -> str:
            return self.ehr.token

        async def run() -> Kept:
            async with httpx.AsyncClient(trust_env=False) as client:
                return await keep(self.engine, self.site, client, token, at)

        return asyncio.run(run())

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            return kept.of_site(connection, self.name)

    def searched(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(select(TO_READ.c.ref).where(TO_READ.c.site == self.name)).scalars())

    def lets_in(self, subscription: Any, at: datetime = NOW) -> bool:
        """Whether what the EHR holds opens the door."""
        key = subscription["channel"]["endpoint"].rpartition("/")[2]
        token = subscription["channel"]["header"][0].removeprefix("Authorization: Bearer ")
        with self.engine.begin() as connection:
            return kept.let_in(connection, self.name, key, token, at) is not None


@pytest.fixture
def keeping(engine: Engine, site: str, ehr: SubscribingEhr, tmp_path: Path) -> Keeping:
    return Keeping(engine, site, ehr, tmp_path)


def test_it_is_made_once(keeping: Keeping, ehr: SubscribingEhr) -> None:
    assert keeping().found == {COUNTS: "made"}
    [made] = ehr.subscriptions
    assert (made["criteria"], made["channel"]["type"], made["end"]) == (
        COUNTS,
        "rest-hook",
        "2027-02-18T10:00:00Z",
    )
    assert made["channel"]["endpoint"].startswith(f"http://127.0.0.1:8000/fhir/notify/{keeping.name}/")
    assert keeping.lets_in(made)
    assert keeping.searched() == {COUNTS}, "what came before there was one"
    for _ in range(3):
        assert keeping().found == {COUNTS: "active"}
    assert len(ehr.subscriptions) == ehr.made == 1
    [row] = keeping.rows()
    assert (row.status, row.resource_id, row.trouble) == ("active", "s1", "")


def test_an_answer_that_was_lost_makes_no_second_one(keeping: Keeping, ehr: SubscribingEhr) -> None:
    ehr.loses_answers = True
    assert keeping().troubles
    ehr.loses_answers = False
    assert keeping().found == {COUNTS: "active"}
    assert ehr.made == 1


def test_what_could_not_be_made_is_made_later(keeping: Keeping, ehr: SubscribingEhr) -> None:
    ehr.refusing = [403]
    done = keeping()
    assert done.troubles == [
        f"the Subscription to {COUNTS} could not be made or renewed: the EHR answered 403"
    ]
    assert "403" in keeping.rows()[0].trouble
    assert keeping().found == {COUNTS: "made"}
    assert len(keeping.rows()) == 1
    assert keeping.rows()[0].trouble == ""


def test_it_is_renewed_before_it_ends_with_another_token(keeping: Keeping, ehr: SubscribingEhr) -> None:
    keeping()
    before = ehr.subscriptions[0]
    assert keeping(NOW + timedelta(days=59)).found == {COUNTS: "active"}
    at = NOW + timedelta(days=61)
    assert keeping(at).found == {COUNTS: "renewed"}
    [after] = ehr.subscriptions
    assert after["channel"]["endpoint"] == before["channel"]["endpoint"]
    assert after["channel"]["header"] != before["channel"]["header"]
    assert after["end"] > before["end"]
    assert (keeping.lets_in(after, at), keeping.lets_in(before, at)) == (True, True)
    assert not keeping.lets_in(before, at + timedelta(hours=2))
    assert keeping.lets_in(after, at + timedelta(hours=2))


@pytest.mark.parametrize("lost", [True, False])
def test_a_renewal_that_fails_shuts_nobody_out(keeping: Keeping, ehr: SubscribingEhr, lost: bool) -> None:
    keeping()
    at = NOW + timedelta(days=61)
    for hours in (0, 2, 4):
        if lost:
            ehr.loses_answers = True
        else:
            ehr.refusing = [403]
        done = keeping(at + timedelta(hours=hours))
        ehr.loses_answers = False
        if hours == 0:
            assert done.troubles
        assert keeping.lets_in(ehr.subscriptions[0], at + timedelta(hours=hours + 1))
    keeping(at + timedelta(hours=6))
    assert keeping.lets_in(ehr.subscriptions[0], at + timedelta(days=2))


@pytest.mark.parametrize(
    "change",
    [{"status": "error"}, {"status": "off"}, {"criteria": "Patient?"}, {"end": "2026-11-01T00:00:00Z"}],
)
def test_what_is_not_as_it_was_made_is_put_right_and_what_was_missed_is_read(
    keeping: Keeping, ehr: SubscribingEhr, engine: Engine, change: dict[str, str]
) -> None:
    keeping()
    with engine.begin() as connection:
        connection.execute(TO_READ.delete().where(TO_READ.c.site == keeping.name))
    ehr.subscriptions[0] |= change
    assert keeping(NOW + timedelta(hours=2)).found == {COUNTS: "renewed"}
    [now_there] = ehr.subscriptions
    assert (now_there["status"], now_there["criteria"]) == ("active", COUNTS)
    assert keeping.searched() == {COUNTS}


def test_one_that_fails_again_at_once_is_said_and_left_for_an_hour(
    keeping: Keeping, ehr: SubscribingEhr
) -> None:
    keeping()
    for minutes, found in ((0, "renewed"), (5, "error"), (70, "renewed")):
        ehr.subscriptions[0]["status"] = "error"
        done = keeping(NOW + timedelta(hours=2, minutes=minutes))
        assert done.found == {COUNTS: found}
        assert bool(done.troubles) == (found == "error")


def test_one_that_was_deleted_is_made_anew(keeping: Keeping, ehr: SubscribingEhr) -> None:
    keeping()
    ehr.subscriptions.clear()
    assert keeping().found == {COUNTS: "made"}
    assert len(keeping.rows()) == len(ehr.subscriptions) == 1


def test_one_that_is_never_activated_is_named_after_two_minutes(
    keeping: Keeping, ehr: SubscribingEhr
) -> None:
    ehr.activates = False
    keeping()
    assert keeping(NOW + timedelta(minutes=1)).troubles == []
    [said] = keeping(NOW + timedelta(minutes=7)).troubles
    assert said.startswith(
        "Subscription/s1 has been requested for 7 minutes and the EHR does not activate it"
    )
    assert "hapi.fhir.subscription.resthook_enabled" in said
    assert keeping.rows()[0].trouble == said
    ehr.subscriptions[0]["status"] = "active"
    assert keeping(NOW + timedelta(minutes=12)).troubles == []
    assert keeping.rows()[0].trouble == ""


def test_what_is_not_wanted_any_more_is_taken_away_and_nothing_else(
    keeping: Keeping, ehr: SubscribingEhr
) -> None:
    theirs = {"resourceType": "Subscription", "id": "x", "status": "active", "criteria": COUNTS, "channel": {"endpoint": "https://other.example/fhir/notify"}}  # fmt: skip
    ehr.subscriptions.append(theirs)
    keeping()
    with keeping.engine.begin() as connection:
        by_hand = kept.make(connection, keeping.name, "Condition?", NOW)
    stray = theirs | {
        "id": "y",
        "channel": {"endpoint": f"http://127.0.0.1:8000/fhir/notify/{keeping.name}/stray"},
    }
    ehr.subscriptions.append(stray)
    keeping.with_options(subscription_criteria=("MedicationRequest?",))
    assert keeping().found == {"MedicationRequest?": "made"}
    assert [s["criteria"] for s in ehr.subscriptions] == [COUNTS, "MedicationRequest?"]
    assert ehr.subscriptions[0] == theirs
    keeping.with_options(subscriptions="off")
    keeping()
    assert ehr.subscriptions == [theirs]
    assert [row.id for row in keeping.rows()] == [by_hand.id]


def test_a_topic(keeping: Keeping, ehr: SubscribingEhr) -> None:
    keeping.with_options(subscriptions="topic", subscription_topic=TOPIC, subscription_payload="id-only")
    keeping()
    [made] = ehr.subscriptions
    assert made["criteria"] == TOPIC
    assert made["channel"]["_payload"]["extension"][0]["valueCode"] == "id-only"
    assert {e["url"].rpartition("/")[2] for e in made["channel"]["extension"]} == {
        "backport-heartbeat-period", "backport-timeout", "backport-max-count",
    }  # fmt: skip
    assert keeping.searched() == {COUNTS}, "a topic is no search"


def test_an_ehr_that_is_away_is_said_and_nothing_is_forgotten(keeping: Keeping, ehr: SubscribingEhr) -> None:
    keeping()
    ehr.status = 503
    done = keeping(NOW + timedelta(minutes=5))
    assert done.found == {COUNTS: "unknown"}
    assert done.troubles[0].startswith("Subscriptions at the EHR cannot be looked at")
    ehr.status = 200
    assert keeping(NOW + timedelta(minutes=10)).found == {COUNTS: "active"}
    assert ehr.made == 1


def test_options_that_lead_nowhere_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    backend = BackendClient(
        client_id="c", token_url="https://ehr.example/token", key_file=tmp_path / "k", key_id="k"
    )
    with pytest.raises(ValueError, match=r"^subscriptions: it needs fhir_servers and backend"):
        check_told(SiteOptions(subscriptions="r4", fhir_servers=("https://ehr.example/fhir",)))
    with pytest.raises(ValueError, match=r"^subscription_topic: "):
        check_told(
            SiteOptions(subscriptions="topic", fhir_servers=("https://ehr.example/fhir",), backend=backend)
        )
    for wrong in ("Patient?", "Observation", "Observation?a b", "Observation?x#y"):
        with pytest.raises(ValueError, match="is not a search such as"):
            SiteOptions(subscription_criteria=(wrong,))


def test_the_whole_way_from_the_command_to_the_alert(
    start_service: StartService, tmp_path: Path, ehr: SubscribingEhr
) -> None:
    from service.store.database import engine_for, upgrade

    url = f"sqlite:///{tmp_path}/whole.db"
    upgrade(url)
    engine = engine_for(url)
    register(engine, "north", [facts("p1", anc(3000, 5))])
    (tmp_path / "key.pem").write_bytes(ehr.pem)
    configuration = tmp_path / "service.toml"
    configuration.write_text(
        f"""
site_name = "north"
database_url = "{url}"
fhir_servers = ["{ehr.base_url}/fhir"]
subscriptions = "r4"
[backend]
client_id = "clozapine-cds"
token_url = "{ehr.base_url}/token"
key_file = "{tmp_path}/key.pem"
key_id = "k1"
"""
    )
    given = {"CLOZAPINE_CDS_CONFIG": str(configuration)}
    done = command("subscriptions", "apply", env=given)
    assert (done.returncode, done.stdout.count(": made")) == (0, 3), done.stderr
    assert command("subscriptions", "apply", env=given).stdout.count(": active") == 3
    shown = command("subscriptions", "status", env=given)
    assert (shown.returncode, shown.stdout.count("active")) == (0, 3)
    service = start_service(database_url=url, site_name="north", sweep="")
    assert ehr.file(count("p1", 0.4), service) == [204]
    with engine.connect() as connection:
        assert [row.told_at is not None for row in kept.of_site(connection, "north")] == [True, False, False]
    engine.dispose()
