"""An override over HTTP: it silences what was seen, where it was seen, and nothing newer, worse or else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update

from service.alerts.say.finding_codes import finding_codes
from service.alerts.say.silence import may_be_silenced
from service.store.database import engine_for
from service.store.roster_tables import Silence
from service.store.tables import CardShown
from tests import data
from tests.data import NOW, ago, bundle, call, codes, prefetch
from tests.registry.test_calls import StartService, _ask, _visit

START_TOO_HIGH = ("dose-start-too-high", "critical")


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, start_service: StartService) -> httpx.Client:
    """A service that remembers, on either database, with a site of its own."""
    more: dict[str, Any] = {"enrol": True, "site_name": f"site-{uuid4()}", "sweep": ""}
    if request.param == "postgresql":
        more["database_url"] = request.getfixturevalue("postgres_url")
    return start_service(**more)


def _orders(hook: str, *drafts: Any, **more: Any) -> dict[str, Any]:
    """A call at an order hook; by default on a patient who is about to start, with everything that is needed."""
    given = {
        "counts": bundle(data.anc(3.2, 1)),
        "labs": data.baseline_labs(),
        "vitals": data.normal_vitals(),
    } | more
    return call(hook, prefetch(**given), *drafts)


_REASON = {
    "outcome": "overridden",
    "overrideReason": {"reason": {"code": "risk-benefit-ratio", "system": "urn:x", "display": "Benefit"}},
}


def _override(service: httpx.Client, answer: dict[str, Any], code: str, said: Any = None) -> None:
    """With a reason, at the service that showed the card."""
    card = next(c for c in answer["cards"] if c["source"]["topic"]["code"] == code)
    item = {"card": card["uuid"], "outcomeTimestamp": ago(0)} | (said or _REASON)
    sent = service.post("/cds-services/clozapine-order-sign/feedback", json={"feedback": [item]})
    assert sent.status_code in (200, 204), sent.text
    service.app.state.latest.refresh()  # type: ignore[attr-defined]


def test_an_overridden_start_of_50_mg_silences_no_900_mg(service: httpx.Client) -> None:
    fifty = _orders("order-select", data.clozapine(50))
    answer = _ask(service, fifty)
    assert START_TOO_HIGH in codes(answer)
    _override(service, answer, "dose-start-too-high")
    assert START_TOO_HIGH not in codes(_ask(service, fifty))
    # Signed under another passing id, what was selected is what was seen.
    assert START_TOO_HIGH not in codes(_ask(service, _orders("order-sign", data.clozapine(50, id="tmp-9"))))
    for other in (data.clozapine(900), data.clozapine(75), data.clozapine(50, frequency=2)):
        assert START_TOO_HIGH in codes(_ask(service, _orders("order-sign", other)))


@pytest.mark.parametrize(
    ("overridden_at", "others"),
    [
        ("order-sign", ("medication-verify", "medication-refill")),
        ("medication-verify", ("order-sign", "order-select", "medication-refill")),
    ],
)
def test_an_override_is_no_answer_for_somebody_else(
    service: httpx.Client, overridden_at: str, others: tuple[str, ...]
) -> None:
    def ask(hook: str) -> list[tuple[str, str]]:
        order = data.clozapine(300, id="mr-50", status="draft" if hook.startswith("order") else "active")
        body = _orders(hook, order, medications=bundle(data.on_clozapine()), counts=bundle(data.anc(3.2, 45)))
        answer = _ask(service, body)
        answers.append(answer)
        return codes(answer)

    answers: list[dict[str, Any]] = []
    assert "anc-overdue" in {code for code, _ in ask(overridden_at)}
    _override(service, answers[-1], "anc-overdue")
    assert "anc-overdue" not in {code for code, _ in ask(overridden_at)}
    for hook in others:
        assert "anc-overdue" in {code for code, _ in ask(hook)}, hook


MILD = ("anc-mild-neutropenia", "warning")


@pytest.mark.parametrize(
    "newer",
    [
        (data.anc(1.05, 0.2, id="anc-2"), data.anc(1.2, 1)),  # lower
        (data.anc(1.2, 0.2, id="anc-2"), data.anc(1.2, 1)),  # as low once more
        (data.anc(1.3, 0.2, id="anc-2"), data.anc(1.2, 1)),  # a little better, and low still
        (data.anc(1.1, 1),),  # corrected
        (data.anc(1.2, 0.5),),  # of another time
    ],
)
def test_another_count_speaks_though_the_one_before_was_overridden(
    service: httpx.Client, newer: tuple[Any, ...]
) -> None:
    first = _visit(counts=bundle(data.anc(1.2, 1)))
    _override(service, _ask(service, first), MILD[0])
    assert MILD not in codes(_ask(service, first))
    assert MILD in codes(_ask(service, _visit(counts=bundle(*newer))))


def test_an_override_holds_though_records_are_added_that_have_nothing_to_do_with_it(
    service: httpx.Client,
) -> None:
    _override(service, _ask(service, _visit(counts=bundle(data.anc(1.2, 1)))), MILD[0])
    weight = data.observation("29463-7", 80, "kg", 0.1, id="w")
    platelets = data.observation("777-3", 240, "10*3/uL", 0.1, id="plt")
    cream = data.order("zinc oxide cream", id="mr-cream", status="active", authoredOn=ago(0))
    more = _visit(
        counts=bundle(platelets, data.anc(1.2, 1)),
        vitals=bundle(weight),
        medications=bundle(cream, data.on_clozapine()),
    )
    assert MILD not in codes(_ask(service, more))


def test_an_interaction_speaks_again_for_another_drug_record_or_dose(service: httpx.Client) -> None:
    def chart(drug: str, rxnorm: str, id: str, mg: float = 300) -> dict[str, Any]:
        other = data.order(drug, rxnorm, id=id, status="active", authoredOn=data.day_ago(9))
        return _visit(medications=bundle(data.on_clozapine(mg=mg), other))

    def interacting(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
        answer = _ask(service, body)
        answers.append(answer)
        return {c["source"]["topic"]["code"]: c for c in answer["cards"] if "with clozapine" in c["summary"]}

    answers: list[dict[str, Any]] = []
    first = chart("fluvoxamine", "42355", "mr-f")
    [code] = interacting(first)
    _override(service, answers[-1], code)
    assert not interacting(first)
    assert interacting(chart("fluvoxamine", "42355", "mr-g")), "another order"
    assert interacting(chart("ciprofloxacin", "2551", "mr-f")), "another drug"
    assert interacting(chart("fluvoxamine", "42355", "mr-f", mg=400)), "another dose of clozapine"


def test_an_override_of_a_card_that_an_older_version_showed_silences_nothing(
    start_service: StartService,
) -> None:
    service = start_service(enrol=True, site_name="older", sweep="")
    overdue = _visit(counts=bundle(data.anc(3.2, 40)))
    answer = _ask(service, overdue)
    engine = service.app.state.engine  # type: ignore[attr-defined]
    with engine.begin() as connection:
        connection.execute(update(CardShown.__table__).values(seen=""))
    _override(service, answer, "anc-overdue")
    assert ("anc-overdue", "warning") in codes(_ask(service, overdue))
    with engine.begin() as connection:
        [row] = connection.execute(select(Silence.__table__)).all()
        assert (row.seen, row.hook) == ("", "patient-view")


def test_what_is_kept_of_a_card_names_nobody(start_service: StartService) -> None:
    service = start_service(enrol=True, site_name="hashed", sweep="")
    answer = _ask(service, _visit(counts=bundle(data.anc(3.2, 40))))
    _override(service, answer, "anc-overdue")
    url = str(service.app.state.engine.url)  # type: ignore[attr-defined]
    engine = engine_for(url)
    with engine.connect() as connection:
        shown = connection.execute(select(CardShown.__table__.c.seen)).scalars().all()
        [silence] = connection.execute(select(Silence.__table__)).all()
    engine.dispose()
    assert all(len(seen) == 32 and not set(seen) - set("0123456789abcdef") for seen in shown)
    assert silence.seen in shown
    until = silence.until.replace(tzinfo=None)
    assert until == (NOW + timedelta(days=7)).replace(tzinfo=None)


def test_a_comment_alone_silences_nothing(service: httpx.Client) -> None:
    fifty = _orders("order-sign", data.clozapine(50))
    said = {"outcome": "overridden", "overrideReason": {"userComment": "ok"}}
    _override(service, _ask(service, fifty), START_TOO_HIGH[0], said)
    assert START_TOO_HIGH in codes(_ask(service, fifty))


def test_an_accepted_card_ends_the_silence(service: httpx.Client) -> None:
    fifty = _orders("order-sign", data.clozapine(50))
    answer = _ask(service, fifty)
    _override(service, answer, START_TOO_HIGH[0])
    assert START_TOO_HIGH not in codes(_ask(service, fifty))
    accepted = {"outcome": "accepted", "acceptedSuggestions": [{"id": str(uuid4())}]}
    _override(service, answer, START_TOO_HIGH[0], accepted)
    assert START_TOO_HIGH in codes(_ask(service, fifty))


def test_nothing_at_which_clozapine_stops_may_be_silenced() -> None:
    for code, entry in finding_codes().items():
        assert may_be_silenced(code, "critical") == (not entry.stops and not entry.always_said)
        assert may_be_silenced(code, "warning")
