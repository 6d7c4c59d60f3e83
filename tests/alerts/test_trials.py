"""What counts as a trial and as a response (clinical.md 2.8): breaks, withdrawn orders, sources not read, old scores, other courses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.alerts.evaluate import evaluate
from service.alerts.facts.practice import Practice
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding import Finding
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from service.fhir.snapshot import SiteMaps
from tests.data import NOW, PATIENT, ago, bundle, clozapine, day_ago, dosage, observation, order, prefetch

SCALE = "urn:ward:scales"
Json = dict[str, Any]
_SCHIZOPHRENIA = {
    "resourceType": "Condition",
    "id": "scz",
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "code": {"text": "schizophrenia"},
    "subject": {"reference": f"Patient/{PATIENT}"},
}


def _found(
    hook: str = "patient-view", *, unread: tuple[str, ...] = (), **given: list[Json]
) -> dict[str, Finding]:
    sent = prefetch(**{key: bundle(*resources) for key, resources in given.items()})
    raw = {key: Raw(orjson.dumps(value)) for key, value in sent.items() if key not in unread}
    gathered, _ = from_prefetch(raw, dict.fromkeys(QUERIES))
    facts = snapshot.build(
        patient_id=PATIENT,
        hook=hook,
        zone=NOW.tzinfo,
        gathered=gathered,
        maps=SiteMaps(codes={(SCALE, "PANSS"): "panss"}),
    )
    practice = Practice(pathway=True)
    return {f.code: f for f in evaluate(facts, policy_by_id("us-label-2025"), NOW, practice)}


def _taken(drug: str, begin: int, end: int | None, id: str, status: str = "completed") -> Json:
    line = dosage(10)[0]
    if end is not None:
        line["timing"]["repeat"]["boundsPeriod"] = {"start": day_ago(begin), "end": day_ago(end)}
    return order(
        f"{drug} 10 mg oral tablet", id=id, status=status, authoredOn=day_ago(begin), dosageInstruction=[line]
    )


def _criteria(*orders: Json, **more: Any) -> str:
    found = _found(medications=list(orders), conditions=[_SCHIZOPHRENIA], **more)
    return found["trs-criteria"].summary


_RISPERIDONE = _taken("risperidone", 300, 200, "r")


@pytest.mark.parametrize(("break_days", "enough"), [(6, True), (7, True), (8, False)])
def test_a_trial_ends_with_a_break_longer_than_a_week(break_days: int, enough: bool) -> None:
    first = _taken("olanzapine", 100, 75, "a")
    second = _taken("olanzapine", 75 - break_days, 45, "b")
    assert _criteria(_RISPERIDONE, first, second).startswith(
        "Treatment resistance: 2 antipsychotics" if enough else "Treatment resistance: 1 more"
    )


def test_years_between_two_short_attempts_are_no_trial() -> None:
    found = _found(
        medications=[_RISPERIDONE, _taken("olanzapine", 2000, 1995, "a"), _taken("olanzapine", 20, 15, "b")],
        conditions=[_SCHIZOPHRENIA],
    )["trs-criteria"]
    assert found.summary.startswith("Treatment resistance: 1 more antipsychotic")
    assert any(line.startswith("olanzapine: 5 days") for line in found.why)


def test_a_cancelled_order_is_no_trial() -> None:
    withdrawn = _taken("olanzapine", 100, 0, "a", status="cancelled")
    assert _criteria(_RISPERIDONE, withdrawn).endswith("1 more antipsychotic of 6 weeks needed.")


def test_what_is_taken_as_needed_only_is_no_trial() -> None:
    needed = _taken("olanzapine", 100, 0, "a")
    needed["dosageInstruction"][0]["asNeededBoolean"] = True
    assert _criteria(_RISPERIDONE, needed).endswith("1 more antipsychotic of 6 weeks needed.")
    needed["dosageInstruction"].append(_taken("olanzapine", 100, 0, "b")["dosageInstruction"][0])
    assert _criteria(_RISPERIDONE, needed).startswith("Treatment resistance: 2 antipsychotics")


def test_a_dispense_without_days_of_supply_is_of_unknown_length() -> None:
    handed = _dispensed(100, 28) | {"medicationCodeableConcept": {"text": "olanzapine 10 mg tablet"}}
    del handed["daysSupply"]
    assert "1 on record of unknown length" in _criteria(_RISPERIDONE, dispenses=[handed])


_TWO_TRIALS = (_RISPERIDONE, _taken("olanzapine", 900, 800, "o"))


def _on_list(text: str, **more: Any) -> Json:
    return _SCHIZOPHRENIA | {"id": "more", "code": {"text": text}} | more


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"medications": [_taken("clozapine", 700, 600, "c")]}, "Clozapine was taken before, until"),
        ({"conditions": [_on_list("agranulocytosis", clinicalStatus={"text": "resolved"})]}, "agranulocytosis"),
        ({"conditions": [_on_list("history of myocarditis")]}, "history of myocarditis"),
        ({"allergies": [{"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": "clozapine"}}]}, "Allergy list"),
    ],
)  # fmt: skip
def test_clozapine_is_not_just_offered_to_whom_it_harmed_or_had_it(
    more: dict[str, list[Json]], says: str
) -> None:
    card = _found(
        medications=[*_TWO_TRIALS, *more.get("medications", [])],
        conditions=[_SCHIZOPHRENIA, *more.get("conditions", [])],
        allergies=more.get("allergies", []),
    )["trs-criteria"]
    assert any(says in line for line in card.why)
    assert "see the record on clozapine" in card.summary
    assert "If the criteria are met, offer clozapine." not in card.suggested


def test_clozapine_is_offered_where_nothing_speaks_against_it() -> None:
    refuted = {"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": "clozapine"}}
    refuted["verificationStatus"] = {"coding": [{"code": "refuted"}]}
    card = _found(medications=[*_TWO_TRIALS], conditions=[_SCHIZOPHRENIA], allergies=[refuted])[
        "trs-criteria"
    ]
    assert "consider clozapine" in card.summary
    assert "If the criteria are met, offer clozapine." in card.suggested


def test_an_order_without_an_end_is_said_to_be_of_unknown_length() -> None:
    assert "1 on record of unknown length" in _criteria(_RISPERIDONE, _taken("olanzapine", 100, None, "a"))


def test_trials_that_could_not_be_read_are_not_called_missing() -> None:
    found = _found(unread=("medications", "statements", "dispenses"), conditions=[_SCHIZOPHRENIA])
    assert "trs-criteria" not in found
    assert "data-unavailable" in found
    partly = _found(unread=("dispenses",), medications=[_RISPERIDONE], conditions=[_SCHIZOPHRENIA])[
        "trs-criteria"
    ]
    assert any("dispenses" in line for line in partly.unchecked)


def _panss(value: float, days: int) -> Json:
    score = observation("x", value, "{score}", days, id=f"panss-{days}")
    return score | {"code": {"coding": [{"system": SCALE, "code": "PANSS"}]}}


def _level(value: float, days: int) -> Json:
    return observation("6896-5", value, "ng/mL", days, id=f"level-{days}")


def _course(days: int = 500, mg: float = 300, id: str = "mr-9") -> Json:
    return clozapine(mg, id=id, status="active", authoredOn=day_ago(days))


_LEVELS = (_level(400, 200), _level(400, 180))


def _pathway(*results: Json, medications: list[Json] | None = None, **more: list[Json]) -> dict[str, Finding]:
    found = _found(medications=medications or [_course()], labs=list(results), **more)
    return {
        code: f
        for code, f in found.items()
        if code in ("adequate-trial-not-met", "clozapine-resistance-review")
    }


def test_a_poor_response_after_an_adequate_trial_is_reviewed() -> None:
    review = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS)["clozapine-resistance-review"]
    assert "3 % better" in review.summary
    assert any("Adherence" in line for line in review.unchecked)
    assert any(line.startswith("Valproate beside clozapine: check") for line in review.policy_says)


def test_the_score_at_the_start_of_clozapine_is_the_baseline() -> None:
    # 60 years before, 100 at the start, 65 now: half better, however well the patient was once.
    assert not _pathway(_panss(60, 900), _panss(100, 505), _panss(65, 5), *_LEVELS)


def test_scores_from_before_clozapine_say_nothing_about_it() -> None:
    assert not _pathway(_panss(100, 700), _panss(99, 600), *_LEVELS)


def test_without_a_score_from_before_the_first_one_is_compared_and_said_so() -> None:
    review = _pathway(_panss(100, 400), _panss(98, 5), *_LEVELS)["clozapine-resistance-review"]
    assert any("No score from before clozapine" in line for line in review.why)


@pytest.mark.parametrize(("age", "judged"), [(179, True), (180, True), (181, False)])
def test_old_scores_are_history(age: int, judged: bool) -> None:
    assert bool(_pathway(_panss(100, 505), _panss(98, age), *_LEVELS)) is judged


def test_a_patient_who_got_worse_is_said_to_be_worse() -> None:
    assert (
        "7 % worse"
        in _pathway(_panss(100, 505), _panss(105, 5), *_LEVELS)["clozapine-resistance-review"].summary
    )


@pytest.mark.parametrize(("last", "adequate"), [(349, False), (350, True)])
def test_a_level_that_fell_again_is_no_adequate_trial(last: float, adequate: bool) -> None:
    found = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS, _level(last, 20))
    assert ("clozapine-resistance-review" in found) is adequate
    if not adequate:
        assert "350 ng/mL again" in found["adequate-trial-not-met"].summary


def test_one_antipsychotic_with_another_drug_in_it_is_no_polypharmacy() -> None:
    combined = order("olanzapine and fluoxetine capsule", id="of", status="active", authoredOn=day_ago(100))
    card = _found(medications=[combined], conditions=[_SCHIZOPHRENIA])["pseudo-resistance-checklist"]
    assert not any(line.startswith("Antipsychotics together") for line in card.why)


def test_eye_drops_are_no_inducer() -> None:
    drops = order("dexamethasone eye drops", id="d", status="active", authoredOn=day_ago(100))
    card = _found(medications=[_RISPERIDONE, drops], conditions=[_SCHIZOPHRENIA])[
        "pseudo-resistance-checklist"
    ]
    assert not any(line.startswith("Inducer") for line in card.why)


def test_levels_of_an_earlier_course_do_not_count() -> None:
    found = _pathway(
        _panss(100, 61), _panss(98, 5), _level(400, 400), _level(400, 300), medications=[_course(60)]
    )
    assert "a level, or 500 mg/day" in found["adequate-trial-not-met"].summary


@pytest.mark.parametrize(("hours", "trough"), [(9, False), (10, True), (14, True), (15, False)])
def test_a_level_counts_as_a_trough_ten_to_fourteen_hours_after_a_dose(hours: int, trough: bool) -> None:
    doses = [
        {
            "resourceType": "MedicationAdministration",
            "id": f"given-{days}",
            "status": "completed",
            "medicationCodeableConcept": {"text": "clozapine"},
            "subject": {"reference": f"Patient/{PATIENT}"},
            "effectiveDateTime": ago(days, hours if days else 2),
        }
        for days in (200, 180, 0)
    ]
    found = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS, administrations=doses)
    assert ("clozapine-resistance-review" in found) is trough


@pytest.mark.parametrize(("days", "adequate"), [(89, False), (90, True), (91, True)])
def test_without_levels_the_dose_itself_must_have_been_given_for_three_months(
    days: int, adequate: bool
) -> None:
    earlier = clozapine(300, id="mr-8", status="stopped", authoredOn=day_ago(500))
    earlier["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {
        "start": day_ago(500),
        "end": day_ago(days),
    }
    found = _pathway(_panss(100, 505), _panss(98, 5), medications=[earlier, _course(days, 500)])
    assert ("clozapine-resistance-review" in found) is adequate


def _dispensed(days: int, supply: int) -> Json:
    return {
        "resourceType": "MedicationDispense",
        "id": f"dispense-{days}",
        "status": "completed",
        "medicationCodeableConcept": {"text": "clozapine 100 mg tablet"},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "whenHandedOver": ago(days),
        "daysSupply": {"value": supply, "unit": "days", "code": "d"},
    }


@pytest.mark.parametrize(("first", "adequate"), [(11, False), (12, True), (13, True)])
def test_a_trial_needs_four_fifths_of_the_days_covered(first: int, adequate: bool) -> None:
    supply = [_dispensed(90, first), _dispensed(70, 30), _dispensed(30, 30)]
    found = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS, dispenses=supply)
    assert ("clozapine-resistance-review" in found) is adequate
    if not adequate:
        assert "adherence of 80 %" in found["adequate-trial-not-met"].summary


def test_nothing_of_it_on_other_hooks() -> None:
    for hook in ("encounter-start", "encounter-discharge"):
        found = _found(hook, medications=[_course()], labs=[_panss(100, 505), _panss(98, 5), *_LEVELS])
        assert not {
            "adequate-trial-not-met",
            "clozapine-resistance-review",
            "pseudo-resistance-checklist",
        } & set(found)
