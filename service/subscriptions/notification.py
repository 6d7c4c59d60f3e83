"""What an EHR sends for a Subscription, read: plain R4 (a resource, or nothing) and topics (a Bundle that begins with its status).

R4 subscription.html; Subscriptions R5 Backport IG, "Notifications"; and what HAPI FHIR really sends. Nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from msgspec import Struct, field

from service.fhir.references import Target, base_of, is_id, read_reference
from service.results.delivery import Delivery, NotADelivery, read_delivery

Json = dict[str, Any]
#: Types of which a notification is worth a reading.
READ_TYPES = frozenset(
    {
        "Observation", "DiagnosticReport", "MedicationRequest", "MedicationStatement", "MedicationDispense",
        "MedicationAdministration", "Condition", "AllergyIntolerance",
    }
)  # fmt: skip
_BUNDLES = ("history", "subscription-notification", "collection", "transaction")
_MOST_EVENTS = 500
_LONGEST_NUMBER = 9


class Notification(Struct):
    """What was sent.

    Args:
        kind: ``event`` | ``handshake`` | ``heartbeat`` | ``status`` (anything else that a topic says).
        status: how the Subscription stands, as the EHR says; empty where it does not.
        numbers: of the events, in order; empty where none has one.
        total: events since the Subscription began; None where it is not said.
        delivery: resources that came with it.
        refs: ``Type/id`` of what changed and did not come with it.
        patients: ids of patients who changed themselves.
        unnamed: something changed, and it is not said what.
        ignored: events that speak of another server, or of what no rule reads.
    """

    kind: str = "event"
    status: str = ""
    numbers: list[int] = field(default_factory=list)
    total: int | None = None
    delivery: Delivery | None = None
    refs: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    unnamed: bool = False
    ignored: int = 0


def read_notification(
    method: str, type_name: str, id: str, body: bytes, own_bases: Collection[str]
) -> Notification:
    """One notification.

    Args:
        method: ``POST``, ``PUT`` or ``DELETE``.
        type_name: of the path; empty where it has none.
        id: of the path.
        body: JSON, or nothing.
        own_bases: addresses of the site's own FHIR servers; what speaks of another is left alone.

    Raises NotADelivery for a body that is no notification.
    """
    if method == "DELETE":
        return _of(f"{type_name}/{id}" if type_name else "", own_bases)
    if not body.strip():
        return _of(f"{type_name}/{id}", own_bases) if type_name and id else Notification(unnamed=True)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotADelivery("The body is not valid JSON, or is nested too deeply.") from None
    if not isinstance(content, dict) or not isinstance(content.get("resourceType"), str):
        raise NotADelivery("A FHIR resource, a Bundle with a SubscriptionStatus, or no body is expected.")
    if content["resourceType"] != "Bundle":
        return Notification(delivery=read_delivery(body, own_bases))
    entries = content.get("entry")
    status = _status(entries)
    if content.get("type") not in _BUNDLES or status is None or not isinstance(entries, list):
        raise NotADelivery("A Bundle must begin with the status of its Subscription.")
    return _topic(status, entries[1:], own_bases)


def _of(ref: str, own_bases: Collection[str]) -> Notification:
    found = Notification()
    _focus(found, ref, frozenset(map(base_of, own_bases)), frozenset())
    return found


def _status(entries: Any) -> Json | None:
    """The status as plain values, of Parameters (R4) or SubscriptionStatus (R4B, R5)."""
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        return None
    resource = entries[0].get("resource")
    if not isinstance(resource, dict):
        return None
    if resource.get("resourceType") == "SubscriptionStatus":
        events = [
            {
                "number": e.get("eventNumber"),
                "focus": [_reference(e.get("focus"))],
            }
            for e in _list(resource.get("notificationEvent"))
            if isinstance(e, dict)
        ]
        return {
            "status": resource.get("status"),
            "type": resource.get("type"),
            "total": resource.get("eventsSinceSubscriptionStart"),
            "events": events,
        }
    if resource.get("resourceType") != "Parameters":
        return None
    told: Json = {"events": []}
    for p in _list(resource.get("parameter")):
        if not isinstance(p, dict):
            continue
        name = p.get("name")
        if name == "notification-event":
            parts = [q for q in _list(p.get("part")) if isinstance(q, dict)]
            told["events"].append(
                {
                    "number": next((_value(q) for q in parts if q.get("name") == "event-number"), None),
                    "focus": [_reference(_value(q)) for q in parts if q.get("name") == "focus"],
                }
            )
        elif name in ("status", "type"):
            told[name] = _value(p)
        elif name == "events-since-subscription-start":
            told["total"] = _value(p)
    return told if "type" in told else None


def _topic(status: Json, entries: list[Any], own_bases: Collection[str]) -> Notification:
    said = status.get("type")
    kind = (
        "event"
        if said == "event-notification"
        else str(said)
        if said in ("handshake", "heartbeat")
        else "status"
    )
    found = Notification(kind=kind, total=_number(status.get("total")))
    if isinstance(status.get("status"), str):
        found.status = status["status"][:20]
    if kind != "event":
        return found
    events = status["events"]
    if len(events) > _MOST_EVENTS:
        raise NotADelivery(f"At most {_MOST_EVENTS} events are taken in one notification.")
    found.numbers = [n for e in events if (n := _number(e["number"])) is not None]
    # Of a history, ``request`` tells how the EHR changed it: what matters is what came.
    sent = [
        {k: v for k, v in e.items() if k != "request"}
        for e in entries
        if isinstance(e, dict) and "resource" in e
    ]
    if sent:
        found.delivery = read_delivery(
            orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": sent}), own_bases
        )
    came = (
        frozenset(p.ref for p in found.delivery.parts if p.fate == "taken") if found.delivery else frozenset()
    )
    own = frozenset(map(base_of, own_bases))
    for event in events:
        named = [ref for ref in event["focus"] if ref]
        for ref in named:
            _focus(found, ref, own, came)
        if not named:
            found.unnamed = True
    found.unnamed = found.unnamed or not (events or came)
    return found


def _focus(found: Notification, ref: str, own: frozenset[str], came: frozenset[str]) -> None:
    target = read_reference(ref)
    if (
        not target.form and "://" not in ref and ref.count("/") == 2
    ):  # "Observation/Observation/7" of older HAPI
        target = read_reference(ref.partition("/")[2])
    if not _is_own(target, own) or not is_id(target.id):
        found.ignored += 1
    elif target.type == "Patient":
        found.patients.append(target.id)
    elif target.type not in READ_TYPES:
        found.ignored += 1
    elif target.local not in came:
        found.refs.append(target.local)


def _is_own(target: Target, own: frozenset[str]) -> bool:
    return target.form == "relative" or (target.form == "absolute" and target.base in own)


def _value(parameter: Json) -> Any:
    return next((v for k, v in parameter.items() if k.startswith("value")), None)


def _reference(value: Any) -> str:
    found = value.get("reference") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    text = str(value) if isinstance(value, (int, str)) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None
