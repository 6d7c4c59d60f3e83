"""What a backtest may see at each moment, and what it counts: small records whose numbers can be checked by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from service.alerts.policy.policy import policy_by_id
from service.backtest.chart import Chart, Reading
from service.backtest.export import Faults
from service.backtest.protocols import protocols
from service.backtest.relevance import Products
from service.backtest.replay import Protocol
from tests.backtest.export import (
    CIPROFLOXACIN,
    CLOZAPINE,
    LABEL,
    alerts,
    anc,
    day,
    order,
    patient,
    run,
    write,
)
from tests.sites import site_of

CRITICAL_INTERACTION = ("interaction-cyp1a2-strong-inhibitor", "critical")


def test_alerts_are_counted_order_by_order(tmp_path: Path) -> None:
    export = write(
        tmp_path,
        [
            patient(),
            # Started without a count, at 300 mg; renewed with a count of a week ago; renewed with one of 400/µL.
            order("a", "2026-03-02T09:00:00Z"),
            anc("a1", 3.1, "2026-03-23T08:00:00Z"),
            order("b", "2026-03-30T09:00:00Z", priorPrescription={"reference": "MedicationRequest/a"}),
            anc("a2", 0.4, "2026-04-26T08:00:00Z"),
            order("c", "2026-04-27T09:00:00Z", priorPrescription={"reference": "MedicationRequest/b"}),
            # Never on clozapine: not looked at.
            patient("p2"),
            order("x", "2026-03-02T09:00:00Z", CIPROFLOXACIN, who="p2"),
        ],
    )
    tally = run(export)
    assert (tally.patients, tally.evaluated_patients) == (1, 1)
    assert tally.orders[LABEL] == tally.signings[LABEL] == 3
    found = alerts(tally)
    assert found["anc-missing", "critical"] == 1
    assert found["dose-start-too-high", "critical"] == 1
    assert found["anc-severe-neutropenia", "critical"] == 1
    assert tally.worst[LABEL, "critical"] == 2
    assert {key: (m.orders, m.alerts.get("critical", 0)) for (_, key), m in tally.months.items()} == {
        "2026-03": (2, 2),
        "2026-04": (1, 1),
    }


def test_what_came_later_is_not_seen(tmp_path: Path) -> None:
    export = write(tmp_path, [patient(), order("a", "2026-03-02"), anc("low", 0.4, "2026-03-03")])
    found = alerts(run(export))
    assert ("anc-missing", "critical") in found
    assert ("anc-severe-neutropenia", "critical") not in found


def test_a_result_is_seen_once_it_is_issued(tmp_path: Path) -> None:
    count = anc("a1", 3.1, "2026-03-02T07:00:00Z", issued="2026-03-02T15:00:00Z")
    export = write(tmp_path, [patient(), order("a", "2026-03-02T09:00:00Z", mg=12.5), count])
    assert ("anc-missing", "critical") in alerts(run(export))
    assert ("anc-missing", "critical") not in alerts(run(export, results="collected"))


def test_a_result_issued_before_its_sample_is_seen_from_its_sample_on(tmp_path: Path) -> None:
    count = anc("a1", 3.1, "2026-03-05T07:00:00Z", issued="2026-01-01T00:00:00Z")
    export = write(tmp_path, [patient(), order("a", "2026-03-02T09:00:00Z", mg=12.5), count])
    assert ("anc-missing", "critical") in alerts(run(export))


def test_an_order_dated_by_day_is_written_at_noon_in_the_site_s_zone(tmp_path: Path) -> None:
    # 13:00 in Auckland on 2 March is midnight UTC of that day: after noon there, before noon in UTC.
    count = anc("a1", 3.1, "2026-03-02T00:00:00Z")
    export = write(tmp_path, [patient(), order("a", "2026-03-02", mg=12.5), count])
    assert ("anc-missing", "critical") not in alerts(run(export, zone=UTC))
    assert ("anc-missing", "critical") in alerts(run(export, zone=ZoneInfo("Pacific/Auckland")))


#: An antibiotic is taken for a week: the one of March is over in September.
_TO_9_MARCH = {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": "2026-03-09"}}}}]}


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        # Stopped at its last update in June: the antibiotic of March meets it, that of September does not.
        ({"status": "stopped", "meta": {"lastUpdated": "2026-06-01T00:00:00Z"}}, 1),
        ({"status": "active", "meta": {"lastUpdated": "2026-06-01T00:00:00Z"}}, 2),
        # Nothing tells until when, but what was ordered lasted to April.
        (
            {
                "status": "completed",
                "dispenseRequest": {"expectedSupplyDuration": {"value": 90, "code": "d"}},
            },
            1,
        ),
        ({"status": "entered-in-error"}, 0),
    ],
    ids=("stopped later", "still active", "supply", "in error"),
)
def test_an_order_that_ended_later_was_active_before(
    tmp_path: Path, ended: dict[str, Any], expected: int
) -> None:
    export = write(
        tmp_path,
        [
            patient(),
            order("clz", "2026-01-05") | ended,
            order("cip1", "2026-03-02", CIPROFLOXACIN) | _TO_9_MARCH,
            order("cip2", "2026-09-01", CIPROFLOXACIN),
        ],
    )
    tally = run(export, first=day("2026-02-01"))
    assert alerts(tally).get(CRITICAL_INTERACTION, 0) == expected
    assert tally.orders[LABEL] == expected


def test_after_its_last_change_an_order_shows_since_when_it_is_over() -> None:
    stopped = order("a", "2026-03-02", status="stopped", meta={"lastUpdated": "2026-06-01T00:00:00Z"})
    chart = _chart(stopped)
    [before] = chart.at(datetime(2026, 5, 1, tzinfo=UTC), "patient-view").medications
    [after] = chart.at(datetime(2026, 7, 1, tzinfo=UTC), "patient-view").medications
    assert (before.status, after.status, after.updated) == (
        "active",
        "stopped",
        datetime(2026, 6, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(("over", "start"), [("2026-05-30", 1), ("2026-03-20", 2)])
def test_an_order_written_soon_after_one_that_ended_is_no_start(
    tmp_path: Path, over: str, start: int
) -> None:
    """The first order is a start; the second one, on 2 June, only when the first was over for a month or more."""
    ended = order("a", "2026-03-02", status="completed", meta={"lastUpdated": f"{over}T00:00:00Z"})
    tally = run(write(tmp_path, [patient(), ended, order("b", "2026-06-02")]))
    assert alerts(tally)["dose-start-too-high", "critical"] == start


@pytest.mark.parametrize(("status", "replaced"), [("completed", ("MedicationRequest/a",)), ("active", ())])
def test_an_order_that_ended_when_the_next_was_written_is_replaced_by_it(
    status: str, replaced: tuple[str, ...]
) -> None:
    chart = _chart(order("a", "2026-03-02", status=status), order("b", "2026-03-16"))
    renewal = chart.orders[1]
    seen = chart.at(renewal.written, "order-sign", (renewal,))
    assert [d.replaces for d in seen.drafts] == [replaced]
    assert [(m.ref, m.status) for m in seen.medications] == [("MedicationRequest/a", "active")]
    later = chart.at(datetime(2026, 4, 1, tzinfo=UTC), "patient-view")
    assert [m.status for m in later.medications] == [status, "active"]


def test_orders_written_at_the_same_moment_are_one_signing(tmp_path: Path) -> None:
    both = [
        order("morning", "2026-03-02T09:00:00Z", mg=12.5),
        order("night", "2026-03-02T09:00:00Z", mg=12.5),
    ]
    tally = run(write(tmp_path, [patient(), *both]))
    assert (tally.orders[LABEL], tally.signings[LABEL]) == (2, 1)
    assert alerts(tally)["anc-missing", "critical"] == 1


def test_only_orders_that_were_written_count(tmp_path: Path) -> None:
    tally = run(
        write(
            tmp_path,
            [
                patient(),
                order("clz", "2026-03-02"),
                order("draft", "2026-03-03", status="draft"),
                order("plan", "2026-03-04", intent="plan"),
                order("aspirin", "2026-03-05", {"text": "paracetamol 500 MG"}),
                {k: v for k, v in order("undated", "").items() if k != "authoredOn"},
            ],
        )
    )
    assert tally.orders[LABEL] == 1
    assert tally.undated_orders == 1


def test_clozapine_is_found_by_name_reference_contained_product_and_local_code(tmp_path: Path) -> None:
    product = {"resourceType": "Medication", "id": "m1", "code": CLOZAPINE}
    inside = product | {"id": "in"}
    local = {"coding": [{"system": "urn:formulary", "code": "77"}]}
    plain = order("x", "2026-03-02")
    plain.pop("medicationCodeableConcept")
    resources = [
        product,
        *(patient(f"p{n}") for n in range(1, 6)),
        order("by-name", "2026-03-02", {"text": "Clozaril 25 mg"}, who="p1"),
        plain
        | {
            "id": "by-ref",
            "medicationReference": {"reference": "Medication/m1"},
            "subject": {"reference": "https://ehr.example/fhir/Patient/p2"},
        },
        plain
        | {
            "id": "contained",
            "contained": [inside],
            "medicationReference": {"reference": "#in"},
            "subject": {"reference": "Patient/p3"},
        },
        order("local", "2026-03-02", local, who="p4"),
        order("other", "2026-03-02", CIPROFLOXACIN, who="p5"),
    ]
    codes = {"urn:formulary|77": "clozapine"}
    tally = run(write(tmp_path, resources), codes=codes)
    assert tally.patients == 4
    assert tally.orders[LABEL] == 4
    assert run(tmp_path).patients == 3


def test_every_day_of_treatment_is_asked_about(tmp_path: Path) -> None:
    export = write(
        tmp_path,
        [
            patient(),
            order("clz", "2026-03-02T09:00:00Z"),
            anc("a1", 3.0, "2026-03-01T08:00:00Z"),
            anc("a2", 3.1, "2026-03-20T08:00:00Z"),
        ],
    )
    tally = run(export, at="day")
    # 2 to 20 March; the count of 1 March answers from the first dose on and is overdue from the 10th (weekly) until that of the 20th.
    assert tally.orders[LABEL] == 19
    overdue = {s: n for (code, s), n in alerts(tally).items() if code == "anc-overdue"}
    assert sum(overdue.values()) == 10
    assert run(export, at="day", last=day("2026-03-31")).orders[LABEL] == 30
    assert run(export, at="day", first=day("2026-03-10"), last=day("2026-03-12")).orders[LABEL] == 3


def test_treatment_days_end_with_death(tmp_path: Path) -> None:
    dead = patient(deceasedDateTime="2026-03-05T12:00:00Z")
    export = write(tmp_path, [dead, order("clz", "2026-03-02T09:00:00Z")])
    assert run(export, at="day", last=day("2026-03-31")).orders[LABEL] == 4


def test_a_type_that_is_not_in_the_export_is_not_taken_for_none(tmp_path: Path) -> None:
    export = write(tmp_path, [patient(), order("clz", "2026-03-02")])
    assert ("data-unavailable", "warning") in alerts(run(export, none_of=frozenset()))
    assert ("data-unavailable", "warning") not in alerts(run(export))


def test_a_resource_that_cannot_be_read_is_counted_named_and_makes_the_check_incomplete(
    tmp_path: Path,
) -> None:
    rotten = {
        "resourceType": "Observation",
        "id": "rotten",
        "code": "x",
        "subject": {"reference": "Patient/p1"},
        "issued": "2026-04-01T00:00:00Z",
    }
    export = write(tmp_path, [patient(), order("a", "2026-03-02"), order("b", "2026-05-04"), rotten])
    tally = run(export)
    assert tally.faults.count == 1
    assert tally.faults.named[0].startswith("Observation.000.ndjson:1: left out: the element code")
    # Before April nobody could have seen it.
    assert alerts(tally)["data-unavailable", "warning"] == 1


def test_policies_side_by_side_and_the_one_in_force(tmp_path: Path) -> None:
    label = policy_by_id(LABEL)
    old = msgspec.structs.replace(
        label, id="old", valid_from=day("2020-01-01"), valid_to=day("2026-03-01"), superseded_by="new"
    )
    new = msgspec.structs.replace(label, id="new", valid_from=day("2026-03-01"), valid_to=None)
    export = write(
        tmp_path,
        [
            patient(),
            *(order(f"o{month}", f"2026-0{month}-10") for month in (1, 2, 3)),
            order("early", "2019-05-01"),
        ],
    )
    beside = run(export, protocols=protocols([old, new], in_force=False))
    assert beside.orders == {"old": 4, "new": 4}
    (chain,) = protocols([old, new], in_force=True)
    assert chain.label == "in force: old → new"
    assert [p.id for p in (chain.on(day("2026-02-28")), chain.on(day("2026-03-01"))) if p] == ["old", "new"]
    in_force = run(export, protocols=(chain,))
    assert in_force.orders[chain.label] == 3
    assert in_force.not_in_force[chain.label] == 1


def test_the_policy_in_force_decides_the_alert(tmp_path: Path) -> None:
    label = policy_by_id(LABEL)
    minimum = msgspec.structs.replace(label.start.anc_minimum, value=5000)
    strict = msgspec.structs.replace(
        label,
        id="strict",
        valid_from=day("2026-03-01"),
        valid_to=None,
        start=msgspec.structs.replace(label.start, anc_minimum=minimum),
    )
    mild = msgspec.structs.replace(
        label, id="mild", valid_from=day("2020-01-01"), valid_to=day("2026-03-01"), superseded_by="strict"
    )
    chain = Protocol("chain", strict, (mild, strict))
    for written, expected in (("2026-02-10", 0), ("2026-03-10", 1)):
        export = write(
            tmp_path / written,
            [patient(), order("a", written, mg=12.5), anc("a1", 3.0, written)],
        )
        found = run(export, protocols=(chain,)).alerts
        assert found["chain", "anc-below-initiation", "critical"] == expected


def _chart(*resources: dict[str, Any]) -> Chart:
    lines = [(f"x:{n}", msgspec.json.encode(r)) for n, r in enumerate(resources)]
    reading = Reading(site_of("ward", UTC), "issued", {})
    return Chart("p1", lines, Products(Path("unused.db")), reading, Faults())


def test_a_problem_that_is_over_was_active_before() -> None:
    problem = {
        "resourceType": "Condition",
        "id": "c",
        "code": {"text": "Benign ethnic neutropenia"},
        "subject": {"reference": "Patient/p1"},
        "clinicalStatus": {"coding": [{"code": "resolved"}]},
        "recordedDate": "2026-02-01",
        "abatementDateTime": "2026-06-01",
    }
    chart = _chart(problem)

    def status(text: str) -> list[str]:
        seen = chart.at(datetime.fromisoformat(text).replace(tzinfo=UTC), "patient-view")
        return [p.clinical_status for p in seen.problems]

    assert status("2026-01-15") == []
    assert status("2026-03-15") == ["active"]
    assert status("2026-07-15") == ["resolved"]


def test_statements_dispenses_administrations_and_allergies_have_their_own_dates() -> None:
    drug = {"medicationCodeableConcept": CLOZAPINE, "subject": {"reference": "Patient/p1"}}
    chart = _chart(
        {
            "resourceType": "MedicationStatement",
            "id": "s",
            "status": "completed",
            "effectivePeriod": {"start": "2026-01-01", "end": "2026-05-01"},
            "dateAsserted": "2026-02-01",
        }
        | drug,
        {
            "resourceType": "MedicationDispense",
            "id": "d",
            "status": "completed",
            "whenHandedOver": "2026-03-01",
        }
        | drug,
        {
            "resourceType": "MedicationAdministration",
            "id": "a",
            "status": "completed",
            "effectiveDateTime": "2026-04-01T08:00:00Z",
        }
        | drug,
        {
            "resourceType": "AllergyIntolerance",
            "id": "al",
            "code": {"text": "clozapine"},
            "patient": {"reference": "Patient/p1"},
            "recordedDate": "2026-04-15",
        },
    )

    def seen(text: str) -> tuple[list[tuple[str, str]], int]:
        found = chart.at(datetime.fromisoformat(text).replace(tzinfo=UTC), "patient-view")
        return sorted((m.ref.split("/")[1], m.status) for m in found.medications), len(found.allergies)

    assert seen("2026-01-15") == ([], 0)
    assert seen("2026-02-15") == ([("s", "active")], 0)
    assert seen("2026-03-15") == ([("d", "completed"), ("s", "active")], 0)
    assert seen("2026-06-15") == ([("a", "completed"), ("d", "completed"), ("s", "completed")], 1)


def test_dates_at_the_ends_of_the_calendar_stop_nothing(tmp_path: Path) -> None:
    endless = order("a", "2026-03-02", mg=12.5, status="completed")
    endless["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {"end": "9999-12-31"}
    export = write(
        tmp_path,
        [
            patient(),
            anc("unknown", 3.0, "0001-01-01"),
            endless,
            order("b", "0001-01-01T00:00:00+14:00"),
            order("c", "9999-12-31"),
            patient("p2"),
            order("d", "2026-03-02", who="p2"),
        ],
    )
    tally = run(export, zone=ZoneInfo("Pacific/Auckland"), first=day("2000-01-01"), last=day("2100-01-01"))
    assert tally.faults.count <= 1
    assert tally.orders[LABEL] >= 1


def test_a_record_that_cannot_be_replayed_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.options import weighed

    real = weighed.evaluate_case

    def evaluate(case: Any, **more: Any) -> Any:
        if case.snapshot.patient_id == "p1":
            raise ZeroDivisionError("p1")
        return real(case, **more)

    monkeypatch.setattr(weighed, "evaluate_case", evaluate)
    two = [patient(), order("a", "2026-03-02"), patient("p2"), order("b", "2026-03-02", who="p2")]
    tally = run(write(tmp_path, two))
    assert tally.orders[LABEL] == 1
    assert tally.faults.named == [
        "MedicationRequest.000.ndjson:1: the record of this patient could not be replayed (ZeroDivisionError)"
    ]
