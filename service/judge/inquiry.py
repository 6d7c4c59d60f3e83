"""What was handed over becomes one question: a CDS Hooks request, or a FHIR Bundle that is a patient's whole record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from msgspec import Raw, Struct

from cds_hooks import HOOKS, BadRequest
from cds_hooks.request import envelope_reader, read_request
from service.alerts.facts.patient import ReadProblem, SourceState
from service.alerts.facts.reason import because
from service.alerts.say.language import english
from service.fhir.decode import Value, read_value
from service.fhir.gather import Gathered, SourceData, only_sent
from service.fhir.queries import QUERIES
from service.fhir.resources import Resource
from service.judge.errors import JudgeError

#: The source that a whole record is filed under; the snapshot sorts resources by their type.
_RECORD = "medications"
_ORDERS = ("MedicationRequest", "ServiceRequest")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Question = bytes | str | Mapping[str, Any]


class Inquiry(Struct, frozen=True, kw_only=True):
    """One question, read."""

    hook: str
    patient_id: str
    gathered: Gathered
    #: The orders that are asked about, as sent.
    orders: Raw
    #: order-select: what was just selected; None where nobody says, and every draft is in question.
    selections: tuple[str, ...] | None = None


class _Kind(Struct):
    """Just enough to tell a Bundle from a request."""

    resourceType: Any = None
    hook: Any = None


_kind = msgspec.json.Decoder(_Kind)
_envelope = envelope_reader(Value | None)


def read_inquiry(question: Question, hook: str | None) -> Inquiry:
    """A question from bytes, text or a decoded object. Raises JudgeError."""
    body = _body(question)
    try:
        kind = _kind.decode(body)
    except msgspec.ValidationError:
        raise JudgeError("a JSON object is expected: a CDS Hooks request or a FHIR Bundle") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JudgeError(f"not valid JSON: {error}") from None
    except RecursionError:
        raise JudgeError("not valid JSON: it is nested too deeply") from None
    if hook is not None and hook not in HOOKS:
        raise JudgeError(f"hook must be one of {', '.join(HOOKS)}")
    if kind.resourceType == "Bundle":
        if hook is None:
            raise JudgeError(
                "this is a Bundle; say which hook to play: the argument hook, on the command line --hook "
                "(for example --hook patient-view)"
            )
        return _of_bundle(body, hook)
    if not isinstance(kind.hook, str) or kind.hook not in HOOKS:
        raise JudgeError(f"hook must be one of {', '.join(HOOKS)}")
    if hook not in (None, kind.hook):
        raise JudgeError(f"this is a request of the hook {kind.hook}, and {hook} was asked for")
    return _of_request(body, kind.hook)


def _body(question: Question) -> bytes:
    if isinstance(question, str):
        try:
            question = question.encode()
        except UnicodeEncodeError as error:
            raise JudgeError(f"not valid JSON: {error.reason}") from None
    elif isinstance(question, Mapping):
        try:
            return orjson.dumps(dict(question))
        except TypeError as error:
            raise JudgeError(f"the question holds what is not JSON ({error})") from None
    if not isinstance(question, bytes | bytearray | memoryview):
        raise JudgeError("a CDS Hooks request or a FHIR Bundle is expected, as bytes, text or dict")
    return bytes(question).removeprefix(_BYTE_ORDER_MARK)


def _of_request(body: bytes, hook: str) -> Inquiry:
    try:
        request = read_request(body, f"clozapine-{hook}", HOOKS[hook], None, _envelope)
    except BadRequest as error:
        raise JudgeError(error.message) from None
    context = request.context
    return Inquiry(
        hook=hook,
        patient_id=context.patient_id,
        gathered=only_sent(request.prefetch, request.fhir_server),
        orders=context.orders,
        selections=context.selections,
    )


def _of_bundle(body: bytes, hook: str) -> Inquiry:
    """A Bundle is the whole record, and its drafts are the orders that are asked about."""
    decoded = read_value(body, "bundle")
    if decoded.failed:
        raise JudgeError(
            "the Bundle could not be read: " + "; ".join(english().reason(p.reason) for p in decoded.problems)
        )
    resources = _resources(body)
    patients = [r for r in resources if r.get("resourceType") == "Patient"]
    if len(patients) != 1:
        raise JudgeError(f"the Bundle must hold one Patient; it holds {len(patients)}")
    drafts = [
        {"resource": r} for r in resources if r.get("resourceType") in _ORDERS and r.get("status") == "draft"
    ]
    problems = list(decoded.problems)
    if decoded.next_link:
        problems.append(ReadProblem("bundle", "", because("server.first-page-in-file")))
    # Every source was looked at, unless a part of the record is missing: nobody knows which.
    state: SourceState = "incomplete" if decoded.partial or decoded.next_link else "complete"
    gathered = Gathered({key: SourceData(state, [], []) for key in QUERIES})
    if decoded.server:
        gathered.servers.add(decoded.server)
    # The drafts are asked about; they are not also a part of the record.
    record = [r for r in decoded.resources if not _is_draft(r)]
    gathered.sources[_RECORD] = SourceData(state, record, problems, decoded.aside)
    return Inquiry(
        hook=hook,
        patient_id=str(patients[0].get("id") or ""),
        gathered=gathered,
        orders=Raw(orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": drafts})),
    )


def _is_draft(resource: Resource) -> bool:
    return type(resource).__name__ in _ORDERS and getattr(resource, "status", None) == "draft"


def _resources(body: bytes) -> list[dict[str, Any]]:
    try:
        entries = orjson.loads(body).get("entry")
    except orjson.JSONDecodeError as error:
        raise JudgeError(f"not valid JSON: {error}") from None
    if not isinstance(entries, list):
        return []
    found = (entry.get("resource") for entry in entries if isinstance(entry, dict))
    return [resource for resource in found if isinstance(resource, dict)]
