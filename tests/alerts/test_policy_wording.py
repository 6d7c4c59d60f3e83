"""What the cards say under each policy: the same count, the words of the policy that applies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import ClinicianFlag, Measurement, Medication, PatientSnapshot
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.say.finding import ChangeDose, Finding, OrderTest, ReferTo, RemoveDraft
from tests.alerts.vignette import findings
from tests.data import NOW

ON = ["clozapine 300 mg since 500 d"]
BOTH = ["ANC 1.2 10*3/uL 1 d ago", "WBC 6.0 10*3/uL 1 d ago"]


def finding(code: str, **row: Any) -> Finding:
    """The one finding of a code."""
    found = [f for f in findings(row) if f.code == code]
    assert len(found) == 1, [f.code for f in findings(row)]
    return found[0]


@pytest.mark.parametrize(
    ("policy", "code", "summary"),
    [
        ("us-label-2025", "anc-mild-neutropenia", "ANC 1200/µL on 2026-11-19: mild neutropenia – count three times weekly."),
        ("us-rems-2015", "anc-mild-neutropenia", "ANC 1200/µL on 2026-11-19: mild neutropenia – count three times weekly."),
        ("eu-smpc-2025", "anc-mild-neutropenia", "ANC 1200/µL on 2026-11-19: mild neutropenia – count twice weekly."),
        ("eu-classic", "blood-count-red", "ANC 1200/µL on 2026-11-19: red – stop clozapine now and for good."),
        ("uk-smpc", "blood-count-red", "ANC 1200/µL on 2026-11-19: red – stop clozapine now and for good."),
        ("au-2021", "blood-count-red", "ANC 1200/µL on 2026-11-19: red – stop clozapine now and for good."),
        ("ca-2020", "blood-count-red", "ANC 1200/µL on 2026-11-19: red – repeat within 24 hours, stop if confirmed."),
    ],
)  # fmt: skip
def test_an_anc_of_1200(policy: str, code: str, summary: str) -> None:
    card = finding(code, policy=policy, on=ON, counts=BOTH)
    assert card.summary == summary
    source = policy_by_id(policy)
    assert card.citation.label == source.sources[source.main_source].title


def test_a_confirmed_canadian_red_says_stop() -> None:
    earlier = ["ANC 1.3 10*3/uL 2 d ago", "WBC 6.0 10*3/uL 2 d ago"]
    card = finding(
        "blood-count-red", policy="ca-2020", on=ON, draft=["clozapine 300 mg"], counts=earlier + BOTH
    )
    assert card.summary.endswith("red – stop clozapine now and for good.")
    assert card.suggested[0] == "A second count confirms it: stop clozapine now."
    assert any(isinstance(o, RemoveDraft) for o in card.offers)


def test_the_other_count_is_shown_beside_the_one_that_decides() -> None:
    counts = ["ANC 2.5 10*3/uL 1 d ago", "WBC 3.2 10*3/uL 1 d ago"]
    card = finding("blood-count-amber", policy="uk-smpc", on=ON, counts=counts)
    assert card.summary == "WBC 3200/µL on 2026-11-19: amber – count twice weekly."
    assert any(line.startswith("ANC 2500/µL") and line.endswith("green.") for line in card.why)
    assert "The worse of WBC and ANC decides." in card.why


def test_very_low_counts_ask_for_hematology() -> None:
    counts = ["ANC 0.9 10*3/uL 1 d ago", "WBC 3.2 10*3/uL 1 d ago"]
    card = finding("blood-count-red", policy="uk-smpc", on=ON, counts=counts)
    assert any(isinstance(o, ReferTo) and o.specialty == "hematology" for o in card.offers)
    assert any(isinstance(o, OrderTest) and o.priority == "stat" for o in card.offers)


def test_a_start_below_both_minima_names_both() -> None:
    counts = ["ANC 2.0 10*3/uL 1 d ago", "WBC 3.5 10*3/uL 1 d ago"]
    card = finding("anc-below-initiation", policy="au-2021", draft=["clozapine 12.5 mg"], counts=counts)
    assert card.summary == (
        "ANC 2000/µL on 2026-11-19: not above the 2000/µL needed for starting clozapine. WBC 3500/µL is too low, too."
    )
    assert len(card.evidence) == 2


def test_benign_ethnic_neutropenia_without_thresholds_is_said() -> None:
    row = {"on": ON, "counts": BOTH, "problems": ["benign ethnic neutropenia"]}
    card = finding("blood-count-red", policy="eu-classic", **row)
    assert any("this policy has no thresholds for it" in line for line in card.why)
    assert not any("Thresholds for benign ethnic neutropenia are used" in line for line in card.why)
    amber = finding("blood-count-amber", policy="uk-smpc", **row)
    assert any("Thresholds for benign ethnic neutropenia are used" in line for line in amber.why)


@pytest.mark.parametrize("policy", [p for p in policy_ids() if not policy_by_id(p).uses_wbc])
def test_a_policy_of_the_anc_alone_never_asks_for_a_wbc(policy: str) -> None:
    for age in (1, 400):
        for card in findings({"policy": policy, "on": ON, "counts": [f"ANC 3.2 10*3/uL {age} d ago"]}):
            assert "WBC" not in card.summary


def test_the_restart_dose_is_offered() -> None:
    card = finding(
        "missed-dose-retitrate",
        policy="uk-smpc",
        on=ON,
        draft=["clozapine 300 mg"],
        given=["49 h"],
        counts=BOTH,
    )
    assert [o.mg_per_day for o in card.offers if isinstance(o, ChangeDose)] == [12.5]


def test_a_short_record_is_named_where_the_interval_was_lengthened() -> None:
    row = {"policy": "eu-smpc-2025", "on": ["clozapine 300 mg since 800 d"]}
    card = finding("data-unavailable", counts=["ANC 3.2 10*3/uL 60 d ago"], **row)
    assert card.severity == "info"
    assert "since 2026-09-21" in card.summary
    full = {**row, "counts": ["ANC 3.2 10*3/uL 60 d ago", "ANC 3.2 10*3/uL 780 d ago"]}
    assert not [f for f in findings(full) if f.code == "data-unavailable"]
    ordering = {**row, "draft": ["clozapine 300 mg"], "counts": ["ANC 3.2 10*3/uL 60 d ago"]}
    assert not [f for f in findings(ordering) if f.code == "data-unavailable"]


def test_eosinophilia_that_stops_clozapine_names_the_way_back() -> None:
    counts = [*BOTH, "eosinophils 3100 /uL 1 d ago"]
    card = finding("eosinophilia", policy="uk-smpc", on=ON, draft=["clozapine 300 mg"], counts=counts)
    assert card.summary == "Eosinophils 3100/µL on 2026-11-19 under clozapine: stop clozapine."
    assert "Restart only once the eosinophils are below 1000/µL." in card.suggested
    assert any(isinstance(o, RemoveDraft) for o in card.offers)


def test_valproate_asks_for_extra_counts_where_the_policy_does() -> None:
    row: dict[str, Any] = {"on": ON, "draft": ["valproate"], "counts": BOTH}
    assert any(
        "more frequent ANC" in s
        for s in finding("interaction-valproate", policy="eu-smpc-2025", **row).policy_says
    )
    assert not any(
        "more frequent ANC" in s
        for s in finding("interaction-valproate", policy="us-label-2025", **row).policy_says
    )


@pytest.mark.parametrize(("white_cells", "severity"), [(6000, "warning"), (2900, "critical")])
def test_an_agreement_on_the_anc_does_not_cover_the_white_cells(white_cells: float, severity: str) -> None:
    taken = NOW - timedelta(days=1)
    flag = ClinicianFlag(
        kind="deviation", by="Dr A", at=NOW - timedelta(days=30), text="agreed", continue_at=1000
    )
    facts = PatientSnapshot(
        patient_id="clz-p1",
        hook="patient-view",
        medications=(
            Medication(
                "MedicationRequest/1", "order", ("clozapine",), "clozapine", start=NOW - timedelta(days=500)
            ),
        ),
        measurements={
            kind: (Measurement(kind, value, taken, f"Observation/{kind}", f"{value:g} /uL"),)
            for kind, value in (("anc", 1200.0), ("wbc", white_cells))
        },
        sources={"counts": "complete", "medications": "complete"},
        flags=(flag,),
    )
    found = evaluate(facts, policy_by_id("uk-smpc"), NOW)
    assert [f.severity for f in found if f.code == "blood-count-red"] == [severity]
