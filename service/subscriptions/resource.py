"""The Subscription as it is put to an EHR, and what is read of one: R4 subscription.html, and the Backport guide's for topics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from service.fhir.references import is_id
from service.fhir.times import read_moment
from service.options.site import Site

Json = dict[str, Any]
_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
#: HAPI FHIR tells of deletions only where it is asked to.
_DELETIONS = "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages"
_REASON = "Clozapine safety: results and orders between visits"
#: It ends so long after it was made or renewed, and is renewed so long before.
LIFE = timedelta(days=90)
RENEWED = timedelta(days=30)
_HEARTBEAT_SECONDS = 300
_TIMEOUT_SECONDS = 10
_MOST_EVENTS = 20


class AtEhr(Struct):
    """A Subscription as an EHR has it.

    Args:
        id: there.
        status: ``requested`` | ``active`` | ``error`` | ``off``, or what else it says.
        criteria: of it.
        endpoint: where it tells.
        payload: media type.
        ends: when; None where it says nothing that can be read.
    """

    id: str
    status: str
    criteria: str
    endpoint: str
    payload: str
    ends: datetime | None


def read_subscription(content: Any) -> AtEhr | None:
    """A Subscription resource; None for what is none."""
    if not isinstance(content, dict) or content.get("resourceType") != "Subscription":
        return None
    identifier = content.get("id")
    if not isinstance(identifier, str) or not is_id(identifier):
        return None
    channel = content.get("channel")
    channel = channel if isinstance(channel, dict) else {}
    end = content.get("end")
    moment = read_moment(end, UTC) if isinstance(end, str) else None
    return AtEhr(
        identifier,
        _text(content.get("status")),
        _text(content.get("criteria")),
        _text(channel.get("endpoint")),
        _text(channel.get("payload")),
        moment.at.astimezone(UTC) if moment is not None else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def wanted(site: Site) -> tuple[str, ...]:
    """What this service is to be told of at a site."""
    options = site.options
    if options.subscriptions == "r4":
        return options.subscription_criteria
    return (options.subscription_topic,) if options.subscriptions == "topic" else ()


def subscription(site: Site, criteria: str, endpoint: str, token: str, now: datetime, id: str = "") -> Json:
    """The resource, to be made, or with ``id`` to be replaced; ``requested``, for only the EHR makes it active."""
    topic = site.options.subscriptions == "topic"
    channel: Json = {
        "extension": [{"url": _DELETIONS, "valueBoolean": True}],
        "type": "rest-hook",
        "endpoint": endpoint,
        "payload": "application/fhir+json",
        "header": [f"Authorization: Bearer {token}"],
    }
    found: Json = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": _REASON,
        "criteria": criteria,
        "end": (now + LIFE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "channel": channel,
    }
    if id:
        found["id"] = id
    if topic:
        found["meta"] = {"profile": [f"{_GUIDE}/backport-subscription"]}
        channel["extension"] = [
            {"url": f"{_GUIDE}/backport-heartbeat-period", "valueUnsignedInt": _HEARTBEAT_SECONDS},
            {"url": f"{_GUIDE}/backport-timeout", "valueUnsignedInt": _TIMEOUT_SECONDS},
            {"url": f"{_GUIDE}/backport-max-count", "valuePositiveInt": _MOST_EVENTS},
        ]
        content = {
            "url": f"{_GUIDE}/backport-payload-content",
            "valueCode": site.options.subscription_payload,
        }
        channel["_payload"] = {"extension": [content]}
    elif site.options.subscription_payload == "id-only":
        # R4 knows a resource or nothing at all; HAPI FHIR takes a failure of the latter for a success.
        del channel["payload"]
    return found
