"""Cards (checklist C1–C12, C7a–C7c)."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from markdown_it import MarkdownIt

from tests.data import anc, bundle, call, clozapine, on_clozapine, order, prefetch

_CALLS = {
    "missing": call("order-sign", prefetch(), clozapine()),
    "severe": call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4))), clozapine(300)),
    "mild": call("patient-view", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(1.2)))),
    "dose": call("order-sign", prefetch(counts=bundle(anc())), clozapine(300)),
    "interaction": call("order-select", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), order("fluvoxamine 50 MG Oral Tablet", "903884")),
    "due": call("patient-view", prefetch(medications=bundle(on_clozapine(60)), counts=bundle(anc(3.0, 5)))),
    "nothing read": call(
        "patient-view",
        {"patient": None, "conditions": bundle({"resourceType": "Condition", "id": "c", "code": {"text": "schizophrenia"}, "subject": {"reference": "Patient/clz-p1"}})},
    ),
    "many": call(
        "order-sign",
        prefetch(counts=bundle(anc(0.4)), labs=None, vitals=None, medications=bundle(*(
            order(f"{name} 10 MG Oral Tablet", id=f"m-{name}", status="active")
            for name in ("fluvoxamine", "ciprofloxacin", "carbamazepine", "methotrexate", "haloperidol", "amitriptyline", "morphine", "lorazepam", "bupropion", "sertraline", "lithium")
        ))),
        clozapine(1000),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(_CALLS))
def cards(request: pytest.FixtureRequest, client: httpx.Client) -> list[dict[str, Any]]:
    body = _CALLS[request.param]
    answer = client.post(f"/cds-services/clozapine-{body['hook']}", json=body).json()
    assert answer["cards"], request.param
    return answer["cards"]


def test_C1_summary_is_one_short_sentence(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        assert 0 < len(card["summary"]) < 140
        assert "\n" not in card["summary"]


def test_C2_indicator_and_order(cards: list[dict[str, Any]]) -> None:
    ranks = [["critical", "warning", "info"].index(card["indicator"]) for card in cards]
    assert ranks == sorted(ranks)


def test_C3_source(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        assert card["source"]["label"]
        assert re.match(r"https?://", card["source"].get("url", "https://"))
        topic = card["source"]["topic"]
        assert topic["system"] == "http://127.0.0.1:8000/fhir/CodeSystem/clozapine-finding"
        assert topic["display"]


def test_C4_detail_is_markdown_without_html(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        assert "**Why**" in card["detail"]
        assert "**What the policy says**" in card["detail"]
        tokens = MarkdownIt("gfm-like").parse(card["detail"])
        assert not [t for t in tokens if t.type in ("html_block", "html_inline")]
        assert "<" not in card["detail"]


def test_C4_record_text_is_escaped(client: httpx.Client) -> None:
    nasty = "<script>alert(1)</script> **bold** [x](http://evil.example) ![i](http://e/i.png) www.evil.example `c` | _u_ clozapine"
    draft = clozapine(12.5)
    draft["medicationCodeableConcept"]["text"] = nasty
    draft["dosageInstruction"] = [{"text": nasty}]
    count = anc(None, 1)
    count["valueString"] = nasty
    for card in client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", prefetch(counts=bundle(count)), draft)
    ).json()["cards"]:
        html = MarkdownIt("gfm-like").render(card["detail"])
        assert "<script" not in html
        assert "<a " not in html
        assert "<img" not in html
        assert "<strong>bold" not in html
        assert "<code>" not in html
        assert "<" not in card["summary"]


def test_C5_uuids_are_there_and_unique(cards: list[dict[str, Any]]) -> None:
    uuids = [c["uuid"] for c in cards] + [s["uuid"] for c in cards for s in c.get("suggestions", [])]
    assert len(uuids) == len(set(uuids))
    assert all(re.fullmatch(r"[0-9a-f-]{36}", u) for u in uuids)


def test_C6_selection_behavior_goes_with_suggestions(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        if card.get("selectionBehavior") == "at-most-one":
            assert sum(s.get("isRecommended", False) for s in card["suggestions"]) <= 1


def _actions(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [a for c in cards for s in c.get("suggestions", []) for a in s["actions"]]


def test_C7_suggestions_have_label_and_uuid(cards: list[dict[str, Any]]) -> None:
    for suggestion in (s for c in cards for s in c.get("suggestions", [])):
        assert suggestion["label"]
        assert suggestion["uuid"]


def test_C7a_one_action_per_suggestion(cards: list[dict[str, Any]]) -> None:
    assert all(len(s["actions"]) == 1 for c in cards for s in c.get("suggestions", []))


def test_C7a_the_text_carries_what_a_suggestion_does(client: httpx.Client) -> None:
    card = client.post("/cds-services/clozapine-order-sign", json=_CALLS["dose"]).json()["cards"][0]
    assert "12.5 mg" in card["summary"]
    assert "12.5 mg" in card["detail"]


@pytest.mark.parametrize(
    ("profile", "behavior"), [("epic", "any"), ("generic", "at-most-one"), ("athena", "at-most-one")]
)
def test_C7b_profile_sets_selection_behavior(start_service: Any, profile: str, behavior: str) -> None:
    site = start_service(profile=profile)
    cards = site.post("/cds-services/clozapine-order-sign", json=_CALLS["missing"]).json()["cards"]
    assert {c["selectionBehavior"] for c in cards if "suggestions" in c} == {behavior}


def test_C7b_card_limit_folds_the_rest(start_service: Any, client: httpx.Client) -> None:
    everything = client.post("/cds-services/clozapine-order-sign", json=_CALLS["many"]).json()["cards"]
    assert len(everything) == 10
    assert "Further findings" in everything[-1]["detail"]
    few = (
        start_service(card_limit=3)
        .post("/cds-services/clozapine-order-sign", json=_CALLS["many"])
        .json()["cards"]
    )
    assert len(few) == 3
    assert "more" in few[-1]["summary"]


def test_C7c_topic_codes_are_static_and_plain(cards: list[dict[str, Any]], client: httpx.Client) -> None:
    for card in cards:
        assert re.fullmatch(r"[a-z0-9-]{1,100}", card["source"]["topic"]["code"])


def test_C8_actions_are_well_formed(cards: list[dict[str, Any]]) -> None:
    for action in _actions(cards):
        assert action["description"]
        if action["type"] == "delete":
            assert re.fullmatch(r"[A-Za-z]+/[A-Za-z0-9.-]+", action["resourceId"])
            assert "resource" not in action
        else:
            assert action["type"] in ("create", "update")
            assert "resourceId" not in action
            get_fhir_model_class(action["resource"]["resourceType"]).model_validate(action["resource"])


def _offered_update(client: httpx.Client, draft: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    card = client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", prefetch(counts=bundle(anc())), draft)
    ).json()["cards"][0]
    return next(
        (s["label"], a["resource"])
        for s in card["suggestions"]
        for a in s["actions"]
        if a["type"] == "update"
    )


def test_C8_update_is_the_whole_draft_with_only_the_dose_changed(client: httpx.Client) -> None:
    draft = clozapine(300, extension=[{"url": "urn:x", "valueString": "kept"}], note=[{"text": "kept too"}])
    draft["dispenseRequest"] = {"numberOfRepeatsAllowed": 1, "quantity": {"value": 90}}
    draft["medicationCodeableConcept"] = {"text": "clozapine 25 MG Oral Tablet"}
    _, update = _offered_update(client, draft)
    changed = {k for k in draft.keys() | update.keys() if draft.get(k) != update.get(k)}
    assert changed == {"dosageInstruction", "dispenseRequest"}
    assert update["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 12.5
    assert update["dispenseRequest"] == {"numberOfRepeatsAllowed": 1}  # the amount belonged to the old dose


def test_C8_a_tablet_that_cannot_give_the_dose_is_changed_with_it(client: httpx.Client) -> None:
    draft = clozapine(300)
    label, update = _offered_update(client, draft)
    changed = {k for k in draft.keys() | update.keys() if draft.get(k) != update.get(k)}
    assert changed == {"dosageInstruction", "medicationCodeableConcept"}
    assert "25 mg" in update["medicationCodeableConcept"]["text"]
    assert "12.5 mg/day, as 25 mg tablets" in label


def test_C8_created_orders_are_for_the_patient_in_context(cards: list[dict[str, Any]]) -> None:
    for action in _actions(cards):
        if action["type"] == "create":
            resource = action["resource"]
            assert (resource.get("subject") or resource.get("for")) == {"reference": "Patient/clz-p1"}


def test_C9_no_action_selection_behavior(cards: list[dict[str, Any]]) -> None:
    assert all("actionSelectionBehavior" not in s for c in cards for s in c.get("suggestions", []))


def test_C10_override_reasons_on_warnings_and_criticals(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        if card["indicator"] == "info":
            assert "overrideReasons" not in card
            continue
        assert len(card["overrideReasons"]) >= 3
        assert all(r["code"] and r["system"] and r["display"] for r in card["overrideReasons"])


def test_C11_links_are_absolute_and_lead_somewhere(cards: list[dict[str, Any]], client: httpx.Client) -> None:
    for link in (link for c in cards for link in c["links"]):
        assert link["label"]
        assert link["type"] == "absolute"
        assert "appContext" not in link
        assert client.get(httpx.URL(link["url"]).path).status_code == 200


def test_C12_no_system_actions(client: httpx.Client) -> None:
    for body in _CALLS.values():
        assert "systemActions" not in client.post(f"/cds-services/clozapine-{body['hook']}", json=body).json()


def test_C1_a_rechallenge_names_the_count_it_is_about(client: httpx.Client) -> None:
    """“A severe reaction in the record” would send its reader searching."""
    old = anc(0.3, 730, id="anc-old")
    sent = prefetch(counts=bundle(old, anc(3.1, 2)), medications=bundle(on_clozapine()))
    answer = client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", sent, clozapine(300))
    ).json()
    (card,) = [c for c in answer["cards"] if c["source"]["topic"]["code"] == "rechallenge-caution"]
    assert card["summary"] == (
        "ANC 300/µL on 2024-11-20 in the record: rechallenge only if the benefit outweighs the risk."
    )


def test_C1_a_lost_record_is_told_by_its_part_of_the_chart(client: httpx.Client) -> None:
    sent = prefetch(counts=bundle(anc(3.1, 2, patient="somebody-else")))
    answer = client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", sent, clozapine())
    ).json()
    (card,) = [c for c in answer["cards"] if c["source"]["topic"]["code"] == "data-unavailable"]
    assert card["summary"].startswith(
        "Clozapine check incomplete: part of the blood counts could not be read."
    )
    assert "Blood counts (Observation) – left out: it belongs to another patient" in card["detail"]
    assert "somebody-else" not in card["detail"]


def test_C4_what_could_not_be_read_is_one_line_of_the_reasons(client: httpx.Client) -> None:
    answer = client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", {"smoking": None}, clozapine())
    ).json()
    (card,) = [c for c in answer["cards"] if c["source"]["topic"]["code"] == "data-unavailable"]
    why = card["detail"].split("**What the policy says**")[0]
    assert why.count("\n- ") == 1
    assert "blood counts (ANC)" in why
    assert "\n- vital signs\n" in card["detail"]


def test_C4_a_start_that_is_only_a_guess_is_called_one(client: httpx.Client) -> None:
    """The orders were not read: that none of them is clozapine must not be claimed."""
    guessed = call("order-sign", {"patient": None, "counts": bundle(anc(1.1))}, clozapine(300))
    known = call("order-sign", prefetch(counts=bundle(anc(1.1))), clozapine(300))
    for body, words in ((guessed, "could not all be read"), (known, "")):
        cards = client.post("/cds-services/clozapine-order-sign", json=body).json()["cards"]
        told = {c["source"]["topic"]["code"]: c["detail"] for c in cards}
        for code in ("anc-below-initiation", "dose-start-too-high"):
            assert words in told[code]
            assert ("Clozapine is being started." in told[code]) is (
                not words and code == "anc-below-initiation"
            )
            assert ("No clozapine in the record" in told[code]) is (
                not words and code == "dose-start-too-high"
            )
