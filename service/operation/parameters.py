"""The parameters of the operation: a bare Bundle, or Parameters with more to say."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from cds_hooks.errors import BadRequest
from service.fhir.queries import QUERIES

#: What may be asked about: an order, or what is handed over at the counter.
IN_QUESTION = ("MedicationRequest", "MedicationDispense")
_NAMES = ("bundle", "resource", "patient", "event", "asOf", "order", "unavailable")


class Parameters(Struct, frozen=True, kw_only=True):
    """What the sender asks."""

    bundle: dict[str, Any]
    #: FHIRPath of the Bundle in the body, for error messages.
    bundle_at: str = "Bundle"
    #: id or reference, as sent.
    patient: str = ""
    event: str = ""
    as_of: str = ""
    order_references: tuple[str, ...] = ()
    order_resources: tuple[dict[str, Any], ...] = ()
    unavailable: frozenset[str] = frozenset()


def read_parameters(content: dict[str, Any]) -> Parameters:
    """Parameters, or a Bundle as it is. Raises BadRequest."""
    kind = content.get("resourceType")
    if kind == "Bundle":
        return Parameters(bundle=content)
    if kind != "Parameters":
        raise BadRequest(
            "resourceType must be Bundle or Parameters. Send the patient's record as a Bundle of type collection.",
            "resourceType",
            "structure",
        )
    listed = content.get("parameter")
    if not isinstance(listed, list):
        raise BadRequest("Parameters.parameter must be a list.", "Parameters.parameter", "required")
    return _collect(listed)


def _collect(listed: list[Any]) -> Parameters:
    bundle: dict[str, Any] | None = None
    bundle_at = ""
    single: dict[str, str] = {}
    references: list[str] = []
    orders: list[dict[str, Any]] = []
    unavailable: set[str] = set()
    for index, item in enumerate(listed):
        at = f"Parameters.parameter[{index}]"
        name = item.get("name") if isinstance(item, dict) else None
        if name not in _NAMES:
            raise BadRequest(f"{at}.name must be one of {', '.join(_NAMES)}.", f"{at}.name", "not-supported")
        resource = item.get("resource")
        if name in ("bundle", "resource"):
            if not isinstance(resource, dict) or resource.get("resourceType") != "Bundle":
                raise BadRequest(f"The parameter “{name}” must hold a Bundle.", f"{at}.resource", "structure")
            if bundle is not None:
                raise BadRequest(
                    "Only one Bundle is expected. Put all resources of the patient into it.", at, "structure"
                )
            bundle, bundle_at = resource, f"{at}.resource"
        elif name == "order" and resource is not None:
            if not isinstance(resource, dict) or resource.get("resourceType") not in IN_QUESTION:
                raise BadRequest(
                    f"The parameter “order” must hold a {' or a '.join(IN_QUESTION)}, or a reference to one.",
                    f"{at}.resource",
                    "structure",
                )
            orders.append(resource)
        elif name == "order":
            references.append(_value(item, at))
        elif name == "unavailable":
            unavailable.add(_source(item, at))
        elif name in single:
            raise BadRequest(f"The parameter “{name}” may be there once only.", at, "structure")
        else:
            single[name] = _value(item, at)
    if bundle is None:
        raise BadRequest(
            "The parameter “bundle” is required: the patient's record as a Bundle.",
            "Parameters.parameter",
            "required",
        )
    return Parameters(
        bundle=bundle,
        bundle_at=bundle_at,
        patient=single.get("patient", ""),
        event=single.get("event", ""),
        as_of=single.get("asOf", ""),
        order_references=tuple(references),
        order_resources=tuple(orders),
        unavailable=frozenset(unavailable),
    )


def _value(item: dict[str, Any], at: str) -> str:
    """The one ``value[x]`` of a parameter as text: a reference's target, a code, an id, a string, a date."""
    values = [value for key, value in item.items() if key.startswith("value")]
    value = values[0] if len(values) == 1 else None
    if isinstance(value, dict):
        value = value.get("reference")
    if not isinstance(value, str) or not value:
        raise BadRequest(
            f"{at} must have one value: a code, an id, a date or a reference, as text.",
            f"{at}.value",
            "value",
        )
    return value


def _source(item: dict[str, Any], at: str) -> str:
    source = _value(item, at)
    if source not in QUERIES:
        raise BadRequest(
            f"The parameter “unavailable” must be one of {', '.join(QUERIES)}.", f"{at}.value", "value"
        )
    return source
