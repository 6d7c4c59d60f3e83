"""Every example over real HTTP gives exactly its cards, and every resource it suggests is valid FHIR."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from service.judge import judge
from tests.data import codes
from tools.courses.table import ABOUT_THE_UNREAD

ALL = sorted(p for p in (Path(__file__).parents[2] / "examples").iterdir() if p.is_dir())
FOLDERS = [p for p in ALL if '"hookInstance"' in (p / "request.json").read_text()]
BUNDLES = [p for p in ALL if p not in FOLDERS]


def _play(client: httpx.Client, folder: Path) -> dict[str, Any]:
    body = (folder / "request.json").read_bytes()
    hook = json.loads(body)["hook"]
    response = client.post(
        f"/cds-services/clozapine-{hook}", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 200, response.text
    return response.json()


def test_there_are_enough_examples() -> None:
    assert len(FOLDERS) >= 25


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_example_gives_its_cards(client: httpx.Client, folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    answer = _play(client, folder)
    assert codes(answer) == [(c["code"], c["indicator"]) for c in expected["cards"]]
    actions = [a for card in answer["cards"] for s in card.get("suggestions", []) for a in s["actions"]]
    kinds = {a["type"] for a in actions} | {
        f"{a['type']} {a['resource']['resourceType']}" for a in actions if "resource" in a
    }
    assert set(expected.get("suggestions", [])) <= kinds
    for action in actions:
        if "resource" in action:
            resource = action["resource"]
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_same_input_gives_same_cards_apart_from_uuids(client: httpx.Client, folder: Path) -> None:
    def without_uuids(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_uuids(v) for k, v in value.items() if k != "uuid"}
        return [without_uuids(v) for v in value] if isinstance(value, list) else value

    assert without_uuids(_play(client, folder)) == without_uuids(_play(client, folder))


def test_table_of_examples_names_every_folder() -> None:
    table = (Path(__file__).parents[2] / "examples" / "README.md").read_text()
    assert [f.name for f in ALL if f.name not in table] == []


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda p: p.name)
def test_bundles_give_their_cards(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    moment = datetime.fromisoformat(expected["as_of"])
    answer = judge((folder / "request.json").read_bytes(), as_of=moment, hook=expected["hook"])
    found = [(c.source.topic.code, c.indicator) for c in answer.cards if c.source.topic]
    assert found == [(c["code"], c["indicator"]) for c in expected["cards"]]


#: What these examples are about could not be read; no other draws a card about it.
_ABOUT_THE_UNREAD = {
    "12-unit-missing", "32-paged-counts", "33-counts-failed", "34-foreign-patient", "35-negative-dose", "36-impossible-date", "37-unknown-medication",
}  # fmt: skip


def test_no_other_example_draws_a_card_about_what_was_not_read() -> None:
    codes = {
        folder.name: {c["code"] for c in json.loads((folder / "expected.json").read_text())["cards"]}
        for folder in ALL
    }
    assert {name for name, found in codes.items() if found & ABOUT_THE_UNREAD} == _ABOUT_THE_UNREAD
