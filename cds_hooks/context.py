"""The seven hooks and their contexts (cds-hooks checklist R4). Resources inside stay raw: the protocol does not read them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from cds_hooks.errors import BadRequest

NO_RESOURCE = Raw(b"")


class Context(Struct, frozen=True, kw_only=True):
    """What the EHR is doing, for whom. Optional members are empty when absent."""

    patient_id: str
    user_id: str = ""
    encounter_id: str = ""
    #: order-select: ids of the newly selected orders (``MedicationRequest/103``).
    selections: tuple[str, ...] = ()
    #: draftOrders, medications or the one medication of the hook, as sent.
    orders: Raw = NO_RESOURCE


class Hook(Struct, frozen=True):
    """One hook of the CDS Hooks Library."""

    name: str
    version: str
    required: tuple[str, ...]
    #: Context member that holds the orders: a Bundle, or one MedicationRequest.
    orders: str = ""
    orders_type: str = "Bundle"


_USER = ("userId", "patientId")
HOOKS: dict[str, Hook] = {
    hook.name: hook
    for hook in (
        Hook("patient-view", "1.0", _USER),
        Hook("order-select", "1.0", (*_USER, "selections", "draftOrders"), "draftOrders"),
        Hook("order-sign", "1.0", (*_USER, "draftOrders"), "draftOrders"),
        Hook("medication-verify", "0.1.0", (*_USER, "medication"), "medication", "MedicationRequest"),
        Hook("medication-refill", "0.1.0", ("patientId", "medications"), "medications"),
        Hook("encounter-start", "1.0", (*_USER, "encounterId")),
        Hook("encounter-discharge", "1.0", (*_USER, "encounterId")),
    )
}
#: R4 datatypes.html, "id"; dots alone would be a step up in an address.
_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9\-.]{1,64}")
_STRINGS = ("userId", "patientId", "encounterId")


class _Members(Struct):
    """Members of every context this service knows, as JSON slices: each is checked by itself, so that an error names it."""

    userId: Raw = NO_RESOURCE
    patientId: Raw = NO_RESOURCE
    encounterId: Raw = NO_RESOURCE
    selections: Raw = NO_RESOURCE
    draftOrders: Raw = NO_RESOURCE
    medications: Raw = NO_RESOURCE
    medication: Raw = NO_RESOURCE
    order: Raw = NO_RESOURCE


class _Peek(Struct):
    """Just enough of an object to know what it is."""

    resourceType: Any = None
    resource: Raw = NO_RESOURCE


_members = msgspec.json.Decoder(_Members)
_peek = msgspec.json.Decoder(_Peek)
_string = msgspec.json.Decoder(str)
_strings = msgspec.json.Decoder(list[str])


def _absent(raw: Raw) -> bool:
    return len(raw) == 0 or (len(raw) == 4 and bytes(raw) == b"null")


def _resource(raw: Raw, member: str, expected: str) -> Raw:
    """The resource in a context member; ``{"resource": {...}}`` wrappers, as some hook pages show them, are opened."""
    try:
        found = _peek.decode(raw)
    except msgspec.ValidationError:
        raise BadRequest(f"{member} must be a JSON object, a FHIR {expected}.", member) from None
    if found.resourceType is None and len(found.resource):
        return _resource(found.resource, f"{member}.resource", expected)
    if found.resourceType != expected:
        kind = found.resourceType
        says = (
            f"its resourceType says {kind!r}"
            if isinstance(kind, str) and len(kind) < 40
            else "it has no resourceType"
        )
        raise BadRequest(
            f"{member} must be a FHIR {expected}; {says}. Send the {expected} the hook defines.", member
        )
    return raw


def read_context(raw: Raw, hook: Hook) -> Context:
    """Check and read the context of a hook. Raises BadRequest naming the member, what was expected and what to do."""
    if _absent(raw):
        raise BadRequest(
            f"context is required: an object with {', '.join(hook.required)}.", "context", "required"
        )
    try:
        members = _members.decode(raw)
    except msgspec.ValidationError:
        raise BadRequest("context must be a JSON object.", "context") from None
    if hook.name == "medication-verify" and _absent(members.medication):
        members.medication = members.order  # the hook page's example calls the member "order"
    values: dict[str, str] = {}
    for name in hook.required:
        if _absent(getattr(members, name)):
            raise BadRequest(
                f"context.{name} is required for the hook {hook.name}.", f"context.{name}", "required"
            )
    for name in _STRINGS:
        member: Raw = getattr(members, name)
        if _absent(member):
            values[name] = ""
            continue
        try:
            values[name] = _string.decode(member)
        except msgspec.ValidationError:
            raise BadRequest(f"context.{name} must be a string.", f"context.{name}") from None
        if name == "patientId":
            values[name] = values[name].strip().removeprefix("Patient/")
        if not values[name].strip() and name in hook.required:
            raise BadRequest(f"context.{name} must not be empty.", f"context.{name}", "required")
        if "\0" in values[name]:
            raise BadRequest(f"context.{name} must not hold a NUL character.", f"context.{name}")
        if name == "patientId" and not _ID.fullmatch(values[name]):
            raise BadRequest(
                "context.patientId must be the FHIR id of the patient, such as 1288992: letters, digits, - and ., at most 64; "
                "a URL or another reference is not accepted. Nothing was evaluated.",
                "context.patientId",
            )
    selections: tuple[str, ...] = ()
    if "selections" in hook.required:
        try:
            selections = tuple(_strings.decode(members.selections))
        except msgspec.ValidationError:
            raise BadRequest(
                'context.selections must be an array of order ids such as "MedicationRequest/103".',
                "context.selections",
            ) from None
    orders = NO_RESOURCE
    if hook.orders:
        orders = _resource(getattr(members, hook.orders), f"context.{hook.orders}", hook.orders_type)
    return Context(
        patient_id=values["patientId"],
        user_id=values["userId"],
        encounter_id=values["encounterId"].removeprefix("Encounter/"),
        selections=selections,
        orders=orders,
    )
