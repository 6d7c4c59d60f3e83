"""Notifications as EHRs send them: the R4 and the R4B status of the Backport guide, and HAPI FHIR's."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def parameters(
    kind: str,
    *focus: str,
    first: int = 1,
    status: str = "active",
    total: int | None = None,
    entries: tuple[Json, ...] = (),
) -> Json:
    """The status as Parameters (R4), in the guide's form."""
    last = first + len(focus) - 1
    told: list[Json] = [
        {"name": "subscription", "valueReference": {"reference": "Subscription/s1"}},
        {"name": "status", "valueCode": status},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(last if total is None else total)},
    ]
    for number, ref in enumerate(focus, first):
        parts: list[Json] = [
            {"name": "event-number", "valueString": str(number)},
            {"name": "timestamp", "valueInstant": "2026-11-27T10:04:58Z"},
        ]
        if ref:
            parts.append({"name": "focus", "valueReference": {"reference": ref}})
        told.append({"name": "notification-event", "part": parts})
    resource = {"resourceType": "Parameters", "parameter": told}
    first_entry = {
        "fullUrl": "urn:uuid:1",
        "resource": resource,
        "request": {"method": "GET", "url": "Subscription/s1/$status"},
    }
    return {"resourceType": "Bundle", "type": "history", "entry": [first_entry, *entries]}


def subscription_status(kind: str, *focus: str, first: int = 1) -> Json:
    """The status as SubscriptionStatus (R4B), its numbers as text."""
    resource = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": kind,
        "eventsSinceSubscriptionStart": str(first + len(focus) - 1),
        "notificationEvent": [
            {"eventNumber": str(n), "focus": {"reference": ref}} for n, ref in enumerate(focus, first)
        ],
    }
    return {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [{"fullUrl": "urn:uuid:1", "resource": resource}],
    }


def hapi(resource: Json, number: int = 1) -> Json:
    """HAPI 8 in R4: no request on the status, a date for the timestamp, a transaction's entry."""
    ref = f"{resource['resourceType']}/{resource['id']}"
    found = parameters("event-notification", ref, first=number)
    del found["entry"][0]["request"]
    found["entry"][0]["resource"]["parameter"][-1]["part"][1] = {
        "name": "timestamp",
        "valueDate": "2026-11-27",
    }
    found["entry"].append(
        {"fullUrl": f"{ref}/_history/2", "resource": resource, "request": {"method": "PUT", "url": ref}}
    )
    return found
