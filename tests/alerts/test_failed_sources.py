"""A source that failed, where the evidence of clozapine stands, and what is asked: in each case what is said of what was not read.

``W`` and ``i``: the card about what was not read, as a warning or as information; ``.``: none. ``+``: beside it, from what was read, a warning or
more of the count or the order, which the failure does not hide.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from service.alerts.say.finding import SEVERITY_RANK
from tests.alerts.test_unread import facts, judged
from tests.data import PATIENT, ago, anc, clozapine, day_ago, on_clozapine, order

Json = dict[str, Any]


def _record(kind: str, **more: Any) -> Json:
    return {
        "resourceType": kind,
        "id": kind,
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": {"text": "clozapine 100 mg tablet"},
    } | more


#: Records that show clozapine, each for the source it comes from.
_EVIDENCE = {
    "medications": on_clozapine(300),
    "statements": _record("MedicationStatement", status="active", effectivePeriod={"start": day_ago(300)}),
    "dispenses": _record(
        "MedicationDispense", status="completed", whenHandedOver=ago(5), daysSupply={"value": 28, "code": "d", "unit": "days"}
    ),
    "administrations": _record("MedicationAdministration", status="completed", effectiveDateTime=ago(0, 6)),
}  # fmt: skip
_NORMAL, _LOW, _OLD = (anc(3.2, 3),), (anc(0.4, 1),), (anc(3.2, 45),)
_ASKED: dict[str, Json] = {
    "visit": {"counts": _NORMAL},
    "visit-low": {"counts": _LOW},
    "visit-old": {"counts": _OLD},
    "discharge-low": {"counts": _LOW, "hook": "encounter-discharge"},
    "fluvoxamine": {"counts": _NORMAL, "drafts": (order("fluvoxamine 50 mg oral tablet"),)},
    "carbamazepine": {"counts": _NORMAL, "drafts": (order("carbamazepine 200 mg tablet"),)},
    "clozapine": {"counts": _NORMAL, "drafts": (clozapine(12.5),)},
    "ibuprofen": {"counts": _NORMAL, "drafts": (order("ibuprofen 400 mg oral tablet"),)},
}
# “nowhere” is at once the patient without clozapine and the one whose only evidence stands in the source that failed: nobody can tell them apart.
_TABLE = """
failed           evidence         visit  visit-low  visit-old  discharge-low  fluvoxamine  carbamazepine  clozapine  ibuprofen
medications      nowhere          .      W          W          W              W            W              W          .
medications      statements       W      W+         W+         W+             W+           W+             W          W
medications      dispenses        W      W+         W+         W+             W+           W+             W          W
medications      administrations  W      W+         W+         W+             W+           W+             W          W
medications      registry         W      W          W          W              W            W              W          W
statements       nowhere          .      W          .          W              W            W              i          .
statements       medications      i      i+         i+         i+             i+           i+             i          i
statements       dispenses        i      i+         i+         i+             i+           i+             i          i
statements       administrations  i      i+         i+         i+             i+           i+             i          i
statements       registry         W      W          W          W              W            W              i          W
dispenses        nowhere          .      W          .          W              W            W              i          .
dispenses        medications      i      i+         i+         i+             i+           i+             i          i
dispenses        statements       i      i+         i+         i+             i+           i+             i          i
dispenses        administrations  i      i+         i+         i+             i+           i+             i          i
dispenses        registry         W      W          W          W              W            W              i          W
administrations  nowhere          .      W          .          W              W            W              i          .
administrations  medications      i      i+         i+         i+             i+           i+             i          i
administrations  statements       i      i+         i+         i+             i+           i+             i          i
administrations  dispenses        i      i+         i+         i+             i+           i+             i          i
administrations  registry         W      W          W          W              W            W              i          W
counts           nowhere          .      .          .          .              .            .              W          .
counts           medications      W      W          W          W              W+           W+             W          W
counts           statements       W      W          W          W              W+           W+             W          W
counts           dispenses        W      W          W          W              W+           W+             W          W
counts           administrations  W      W          W          W              W+           W+             W          W
counts           registry         W      W          W          W              W            W              W          W
"""
_HEAD, *_ROWS = (line.split() for line in _TABLE.strip().splitlines())
#: Of its own: what the count or the drug that is ordered is warned of.
_OWN = ("anc-", "blood-count-", "baseline-count-", "interaction-")


def _said(failed: str, evidence: str, asked: str) -> str:
    records = () if evidence in ("nowhere", "registry") else (_EVIDENCE[evidence],)
    given = facts(*records, failed=(failed,), **_ASKED[asked])
    found = judged(replace(given, registered=True) if evidence == "registry" else given)
    unread = found.get("data-unavailable")
    own = any(
        f.code.startswith(_OWN) and SEVERITY_RANK[f.severity] >= SEVERITY_RANK["warning"]
        for f in found.values()
    )
    of_unread = "." if unread is None else {"warning": "W", "info": "i"}[unread.severity]
    return of_unread + ("+" if own else "")


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: f"{row[0]} failed, evidence: {row[1]}")
def test_what_is_said_where_a_source_failed(row: list[str]) -> None:
    failed, evidence, *cells = row
    assert dict(zip(_HEAD[2:], cells, strict=True)) == {a: _said(failed, evidence, a) for a in _HEAD[2:]}


def test_the_table_leaves_nothing_out() -> None:
    assert list(_ASKED) == _HEAD[2:]
    sources = (*_EVIDENCE, "counts")
    evidence = ("nowhere", *_EVIDENCE, "registry")
    assert {(r[0], r[1]) for r in _ROWS} == {(f, e) for f in sources for e in evidence if e != f}
    assert len(_ROWS) == 26


def test_never_silent_where_the_whole_record_is_not() -> None:
    """Each cell without a card is one whose whole record draws none either, but for the count that would be due (see the limits)."""
    for failed, evidence, *cells in _ROWS:
        for asked, cell in zip(_HEAD[2:], cells, strict=True):
            if cell != "." or failed == "counts":
                continue
            whole = judged(facts(_EVIDENCE[failed], **_ASKED[asked]))
            own = {c for c in whole if c.startswith(_OWN)}
            if asked == "visit-old":
                assert own <= {"anc-overdue", "baseline-count-too-old"}, (failed, evidence)
            else:
                assert own == set(), (failed, evidence, asked)
