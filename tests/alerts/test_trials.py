"""What counts as a trial and as a response (clinical.md 2.8): breaks, withdrawn orders, sources not read, old scores, other courses."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.alerts.evaluate import evaluate
from service.alerts.facts.practice import Practice
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.cards import detail_of
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


#: Enough by both tables of equivalents.
_ENOUGH = {"olanzapine": 20.0, "risperidone": 10.0, "clozapine": 300.0}


def _taken(
    drug: str, begin: int, end: int | None, id: str, status: str = "completed", mg: float | None = None
) -> Json:
    line = dosage(_ENOUGH[drug] if mg is None else mg)[0]
    if end is not None:
        line["timing"]["repeat"]["boundsPeriod"] = {"start": day_ago(begin), "end": day_ago(end)}
    return order(
        f"{drug} oral tablet", id=id, status=status, authoredOn=day_ago(begin), dosageInstruction=[line]
    )


def _panss(value: float, days: int) -> Json:
    score = observation("x", value, "{score}", days, id=f"panss-{days}")
    return score | {"code": {"coding": [{"system": SCALE, "code": "PANSS"}]}}


_ILL = _panss(98, 5)


def _card(*orders: Json, **more: Any) -> Finding:
    """The card on trials of a patient who is ill by a score."""
    given = {"conditions": [_SCHIZOPHRENIA], "labs": [_ILL], **more}
    return _found(medications=list(orders), **given)["trs-criteria"]


def _criteria(*orders: Json, **more: Any) -> str:
    return _card(*orders, **more).summary


_TWO = "Difficult to treat, remission pending: 2 adequate antipsychotic trials, PANSS 98."
_ONE_MORE = "Remission pending, PANSS 98: 1 more trial"


_RISPERIDONE = _taken("risperidone", 300, 200, "r")


@pytest.mark.parametrize(("break_days", "enough"), [(6, True), (7, True), (8, False)])
def test_a_trial_ends_with_a_break_longer_than_a_week(break_days: int, enough: bool) -> None:
    first = _taken("olanzapine", 100, 75, "a")
    second = _taken("olanzapine", 75 - break_days, 45, "b")
    assert _criteria(_RISPERIDONE, first, second).startswith(_TWO if enough else _ONE_MORE)


def test_years_between_two_short_attempts_are_no_trial() -> None:
    found = _card(_RISPERIDONE, _taken("olanzapine", 2000, 1995, "a"), _taken("olanzapine", 20, 15, "b"))
    assert found.summary.startswith(_ONE_MORE)
    assert any(line.startswith("Olanzapine: 5 days") for line in found.why)


def test_a_cancelled_order_is_no_trial() -> None:
    withdrawn = _taken("olanzapine", 100, 0, "a", status="cancelled")
    assert _criteria(_RISPERIDONE, withdrawn).startswith(_ONE_MORE)


def test_what_is_taken_as_needed_only_is_no_trial() -> None:
    needed = _taken("olanzapine", 100, 0, "a")
    needed["dosageInstruction"][0]["asNeededBoolean"] = True
    assert _criteria(_RISPERIDONE, needed).startswith(_ONE_MORE)
    needed["dosageInstruction"].append(_taken("olanzapine", 100, 0, "b")["dosageInstruction"][0])
    assert _criteria(_RISPERIDONE, needed).startswith(_TWO)


def test_a_dispense_without_days_of_supply_is_of_unknown_length() -> None:
    handed = _dispensed(100, 28) | {"medicationCodeableConcept": {"text": "olanzapine 10 mg tablet"}}
    del handed["daysSupply"]
    assert "1 on record cannot be judged" in _criteria(_RISPERIDONE, dispenses=[handed])


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
    assert "See what the record says of clozapine first" in card.summary
    assert not any("offer clozapine" in step for step in card.suggested)


def test_clozapine_is_offered_where_nothing_speaks_against_it() -> None:
    refuted = {"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": "clozapine"}}
    refuted["verificationStatus"] = {"coding": [{"code": "refuted"}]}
    card = _found(medications=[*_TWO_TRIALS], conditions=[_SCHIZOPHRENIA], allergies=[refuted])[
        "trs-criteria"
    ]
    assert "consider clozapine" in card.summary
    assert any("offer clozapine" in step for step in card.suggested)


def test_an_order_without_an_end_is_said_to_be_of_unknown_length() -> None:
    assert "1 on record cannot be judged" in _criteria(_RISPERIDONE, _taken("olanzapine", 100, None, "a"))


def test_trials_that_could_not_be_read_are_not_called_missing() -> None:
    found = _found(
        unread=("medications", "statements", "dispenses"), conditions=[_SCHIZOPHRENIA], labs=[_ILL]
    )
    assert "trs-criteria" not in found
    assert "data-unavailable" in found
    partly = _card(_RISPERIDONE, unread=("dispenses",))
    assert any("dispenses" in line for line in partly.unchecked)


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
    assert any("shown by levels alone" in line for line in review.unchecked)
    assert any(
        line.startswith("Valproate") and "Check beside clozapine:" in line for line in review.policy_says
    )
    # All of it fits on the card, its source too.
    assert "more." not in detail_of(review)
    assert "Source:" in detail_of(review)


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
    card = _found(medications=[combined], conditions=[_SCHIZOPHRENIA], labs=[_ILL])[
        "pseudo-resistance-checklist"
    ]
    assert not any(line.startswith("Antipsychotics together") for line in card.why)


def test_eye_drops_are_no_inducer() -> None:
    drops = order("dexamethasone eye drops", id="d", status="active", authoredOn=day_ago(100))
    card = _found(medications=[_RISPERIDONE, drops], conditions=[_SCHIZOPHRENIA], labs=[_ILL])[
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


# What a trial is worth ------------------------------------------------------------------------------------------------


def _injected(drug: str, mg: float, days: int) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        "id": f"injected-{days}",
        "status": "completed",
        "medicationCodeableConcept": {"text": drug},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": ago(days),
        "dosage": {"dose": {"value": mg, "unit": "mg", "code": "mg", "system": "http://unitsofmeasure.org"}},
    }


def _line(card: Finding, drug: str) -> str:
    return next(line for line in card.why if line.startswith(drug))


@pytest.mark.parametrize(
    ("mg", "every", "adequate"),
    [(225, 28, True), (150, 28, False), (225, 35, False), (120, 14, True), (100, 14, True), (90, 14, False)],
)
def test_injections_count_by_what_they_give_a_day(mg: float, every: int, adequate: bool) -> None:
    # Haloperidol: 1.1 mg a day by the one table, 150 mg every 28 days by the other.
    shots = [_injected("haloperidol decanoate injection", mg, d) for d in range(200 - every * 4, 201, every)]
    card = _card(_RISPERIDONE, administrations=shots)
    assert card.summary.startswith(_TWO if adequate else _ONE_MORE)
    line = _line(card, "Haloperidol")
    assert "long-acting injection" in line
    assert ("taken, by injections given alone" in line) is adequate


@pytest.mark.parametrize(("apart", "told"), [(35, True), (36, False)])
def test_injections_too_far_apart_do_not_tell_a_length(apart: int, told: bool) -> None:
    shots = [_injected("haloperidol decanoate injection", 300, d) for d in (100, 100 + apart)]
    line = _line(_card(_RISPERIDONE, administrations=shots), "Haloperidol")
    assert ("length not known" in line) is not told


def test_a_single_injection_is_no_trial() -> None:
    card = _card(_RISPERIDONE, administrations=[_injected("haloperidol decanoate injection", 300, 90)])
    assert "1 on record cannot be judged" in card.summary


def test_the_weight_of_a_salt_is_not_taken_for_that_of_the_drug() -> None:
    shots = [_injected("paliperidone palmitate injection", 234, d) for d in (200, 172, 144, 116)]
    assert "in mg of the drug or of its salt" in _line(
        _card(_RISPERIDONE, administrations=shots), "Paliperidone"
    )


def _handed(drug: str, days: int, supply: int) -> Json:
    return _dispensed(days, supply) | {
        "id": f"handed-{days}",
        "medicationCodeableConcept": {"text": f"{drug} tablet"},
    }


@pytest.mark.parametrize(("second", "adequate"), [(31, False), (32, True), (40, True)])
def test_a_trial_that_was_hardly_collected_does_not_count(second: int, adequate: bool) -> None:
    # 100 days on order: 48 days of supply and ``second`` more are four fifths or not.
    supply = [_handed("olanzapine", 300, 48), _handed("olanzapine", 250, second)]
    card = _card(_RISPERIDONE, _taken("olanzapine", 300, 200, "o"), dispenses=supply)
    assert card.summary.startswith(_TWO if adequate else _ONE_MORE)
    assert ("taken, by dispenses alone" in _line(card, "Olanzapine")) is adequate
    assert ("Does not count" in _line(card, "Olanzapine")) is not adequate


def test_supply_of_later_years_says_nothing_of_the_trial() -> None:
    card = _card(
        _RISPERIDONE, _taken("olanzapine", 300, 200, "o"), dispenses=[_handed("olanzapine", 210, 30)]
    )
    assert "nothing on record shows that it was taken" in _line(card, "Olanzapine")


def _charted(drug: str, days: int) -> Json:
    return _injected(f"{drug} tablet", 20, days) | {"id": f"charted-{days}"}


def test_a_chart_and_dispenses_are_two_sources() -> None:
    supply = [_handed("olanzapine", 300, 50), _handed("olanzapine", 250, 50)]
    chart = [_charted("olanzapine", days) for days in range(201, 301)]
    card = _card(_RISPERIDONE, _taken("olanzapine", 300, 200, "o"), dispenses=supply, administrations=chart)
    assert "taken, by dispenses and the chart." in _line(card, "Olanzapine")


def test_both_equivalents_are_shown_and_the_smaller_decides() -> None:
    card = _card(_RISPERIDONE, _taken("haloperidol", 200, 100, "h", mg=10))
    assert "equal to 600 mg (consensus) or 370 mg (DDD) of chlorpromazine. Too low" in _line(
        card, "Haloperidol"
    )


def test_a_titration_counts_from_the_step_that_suffices() -> None:
    def stepped(last_days: int) -> Json:
        lines = [
            dosage(mg)[0] | {"sequence": n, "timing": {"repeat": {
                "frequency": 1, "period": 1, "periodUnit": "d",
                "boundsPeriod": {"start": day_ago(begin), "end": day_ago(end)}}}}
            for n, (mg, begin, end) in enumerate(((10.0, 200, 101 + last_days), (20.0, 100 + last_days, 100)), 1)
        ]  # fmt: skip
        return order(
            "olanzapine oral tablet",
            id="o",
            status="completed",
            authoredOn=day_ago(200),
            dosageInstruction=lines,
        )

    assert _criteria(_RISPERIDONE, stepped(30)).startswith(_ONE_MORE)
    assert "at a sufficient dose: " in _line(_card(_RISPERIDONE, stepped(30)), "Olanzapine")
    assert _criteria(_RISPERIDONE, stepped(50)).startswith(_TWO)


def test_a_drug_given_since_nobody_knows_when_is_no_first_episode_if_the_diagnosis_is_old() -> None:
    undated = {
        "resourceType": "MedicationStatement", "id": "s", "status": "active",
        "medicationCodeableConcept": {"text": "olanzapine"}, "subject": {"reference": f"Patient/{PATIENT}"},
    }  # fmt: skip
    young = _SCHIZOPHRENIA | {"onsetDateTime": day_ago(14)}
    old = _SCHIZOPHRENIA | {"onsetDateTime": day_ago(900)}
    assert "trs-criteria" not in _found(statements=[undated], conditions=[young], labs=[_ILL])
    assert "trs-criteria" in _found(statements=[undated], conditions=[old], labs=[_ILL])


# What the record shows of the checklist -------------------------------------------------------------------------------


def _checklist(**given: Any) -> Finding:
    found = {"medications": [_RISPERIDONE], "conditions": [_SCHIZOPHRENIA], "labs": [_ILL], **given}
    return _found(**found)["pseudo-resistance-checklist"]


@pytest.mark.parametrize(
    ("problem", "item"),
    [
        ("traumatic brain injury", "Head injury"),
        ("history of traumatic brain injury", "Head injury"),
        ("epilepsy", "Head injury"),
        ("hypothyroidism", "Hormones"),
        ("diabetes mellitus type 2", "Hormones"),
        ("obstructive sleep apnea", "Infection, lungs"),
        ("coeliac disease", "Gut"),
        ("cannabis use disorder", "Alcohol"),
        ("post-traumatic stress disorder", "Another diagnosis"),
        ("bipolar disorder", "Another diagnosis"),
    ],
)
def test_what_is_on_the_list_stands_first(problem: str, item: str) -> None:
    card = _checklist(conditions=[_SCHIZOPHRENIA, _on_list(problem)])
    assert any(problem in line for line in card.why)
    assert card.suggested[0].startswith(f"On record: {item}")
    assert "1 possible cause" in card.summary


def test_what_is_not_on_the_list_is_only_asked_for() -> None:
    card = _checklist(
        conditions=[_SCHIZOPHRENIA, _on_list("family history of epilepsy"), _on_list("migraine")]
    )
    assert not any(step.startswith("On record") for step in card.suggested)
    assert card.summary.endswith("rule out other causes of a poor response.")


def test_sedatives_and_anticholinergics_are_named() -> None:
    drugs = [
        order(f"{drug} oral tablet", id=drug, status="active", authoredOn=day_ago(100))
        for drug in ("lorazepam", "benztropine")
    ]
    card = _checklist(medications=[_RISPERIDONE, *drugs])
    assert any(line.startswith("Sedative: lorazepam") for line in card.why)
    assert any(line.startswith("Anticholinergic: benztropine") for line in card.why)


@pytest.mark.parametrize(
    ("product", "changed"), [("Clozaril 100 mg tablet", True), ("clozapine 25 mg tablet", False)]
)
def test_another_brand_is_named_another_strength_is_none(product: str, changed: bool) -> None:
    second = _dispensed(30, 28) | {"medicationCodeableConcept": {"text": product}}
    found = _found(
        medications=[_course()],
        dispenses=[_dispensed(60, 28), second],
        labs=[_panss(100, 505), _panss(98, 5), *_LEVELS],
    )["pseudo-resistance-checklist"]
    assert any(line.startswith("Another brand") for line in found.why) is changed


# Under clozapine ------------------------------------------------------------------------------------------------------


def test_levels_and_dispenses_are_two_sources_of_adherence() -> None:
    supply = [_dispensed(90, 30), _dispensed(60, 30), _dispensed(30, 30)]
    review = _found(
        medications=[_course()], labs=[_panss(100, 505), _panss(98, 5), *_LEVELS], dispenses=supply
    )["clozapine-resistance-review"]
    assert "Taken, by dispenses and levels." in review.why
    assert not any("Whether it is taken" in line for line in review.unchecked)


@pytest.mark.parametrize(("days", "shown"), [(71, False), (72, True)])
def test_a_chart_shows_that_clozapine_is_taken(days: int, shown: bool) -> None:
    chart = [_injected("clozapine tablet", 500, day) | {"id": f"given-{day}"} for day in range(1, days + 1)]
    review = _found(
        medications=[_course(mg=500)], labs=[_panss(100, 505), _panss(98, 5)], administrations=chart
    )["clozapine-resistance-review"]
    assert any("shown by the chart alone" in line for line in review.unchecked) is shown


def test_options_for_the_symptoms_on_the_list_come_first() -> None:
    def first(*conditions: Json) -> str:
        review = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS, conditions=list(conditions))
        return review["clozapine-resistance-review"].policy_says[1]

    assert first().startswith("Aripiprazole")
    assert first(_on_list("aggression")).startswith("ECT")
    assert first(_on_list("negative symptoms")).startswith("Aripiprazole")


def test_what_nobody_has_confirmed_is_said_to_be_so() -> None:
    says = _pathway(_panss(100, 505), _panss(98, 5), *_LEVELS)["clozapine-resistance-review"].policy_says
    for option in policy_by_id("us-label-2025").pathway.options:
        line = next(line for line in says if line.startswith(option.value))
        assert option.evidence in line
        assert ("not confirmed" in line) is not option.confirmed
