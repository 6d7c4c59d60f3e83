"""A call to a service, read from bytes (cds-hooks checklist J3, R1–R4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from cds_hooks.context import NO_RESOURCE, Context, Hook, read_context
from cds_hooks.errors import BadRequest
from cds_hooks.limits import MAX_NESTING, nested_deeper_than


class FhirAuthorization(Struct, frozen=True):
    """Access to the client's FHIR server for the time of this call. Its text form never shows the token."""

    access_token: str
    expires_in: int | None = None
    scope: str = ""
    subject: str = ""
    patient: str = ""

    def __repr__(self) -> str:
        return f"FhirAuthorization(access_token=…, expires_in={self.expires_in!r}, scope={self.scope!r})"


class HookRequest(Struct, frozen=True, kw_only=True):
    """One hook call."""

    service_id: str
    hook: str
    hook_instance: str
    context: Context
    #: By key. Each value is of the type that the service reads, or as it came (Raw) when it reads none or a value did not fit.
    prefetch: dict[str, Any]
    fhir_server: str = ""
    fhir_authorization: FhirAuthorization | None = None
    extension: Raw = NO_RESOURCE
    #: The call as it came.
    body: bytes = b""
    #: Who calls, as the authenticator established it; None in open mode.
    principal: Any = None


V = TypeVar("V")


class Envelope(Struct, Generic[V]):
    """A call whose prefetch is an object, as it should be: its members as slices, its prefetch values read, in one pass over the body."""

    hook: Raw = NO_RESOURCE
    hookInstance: Raw = NO_RESOURCE
    context: Raw = NO_RESOURCE
    prefetch: dict[str, V] | None = None
    fhirServer: Raw = NO_RESOURCE
    fhirAuthorization: Raw = NO_RESOURCE
    extension: Raw = NO_RESOURCE


class _Authorization(Struct):
    access_token: Any = None
    token_type: Any = None
    expires_in: Any = None
    scope: Any = None
    subject: Any = None
    patient: Any = None


_envelope = msgspec.json.Decoder(Envelope[Raw])
_authorization = msgspec.json.Decoder(_Authorization)
_string = msgspec.json.Decoder(str)


def _given(raw: Raw) -> bool:
    return len(raw) > 4 or (len(raw) > 0 and bytes(raw) != b"null")


def _check_utf8(body: bytes) -> None:
    """Slices are not looked into until they are used: what is no text must be found before. Raises BadRequest."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The body is not valid UTF-8 (byte {error.start}). Send JSON in UTF-8.", code="structure"
        ) from None


def _text(raw: Raw, name: str) -> str:
    try:
        return _string.decode(raw)
    except msgspec.ValidationError:
        raise BadRequest(f"{name} must be a string.", name) from None


def _authorized(raw: Raw, context: Context) -> FhirAuthorization:
    try:
        found = _authorization.decode(raw)
    except msgspec.ValidationError:
        raise BadRequest("fhirAuthorization must be a JSON object.", "fhirAuthorization") from None
    if not isinstance(found.access_token, str) or not found.access_token:
        name = "fhirAuthorization.access_token"
        raise BadRequest(f"{name} is required: the Bearer token for fhirServer, a string.", name, "required")
    if found.token_type != "Bearer":  # noqa: S105 - the type, not the token
        name = "fhirAuthorization.token_type"
        raise BadRequest(f'{name} must be "Bearer".', name)
    patient = found.patient if isinstance(found.patient, str) else ""
    if patient and patient.removeprefix("Patient/") != context.patient_id:
        raise BadRequest(
            "fhirAuthorization.patient is another patient than context.patientId; nothing was evaluated. "
            "Send the token of the patient in context.",
            "fhirAuthorization.patient",
            "security",
        )
    return FhirAuthorization(
        access_token=found.access_token,
        expires_in=found.expires_in if isinstance(found.expires_in, int) else None,
        scope=found.scope if isinstance(found.scope, str) else "",
        subject=found.subject if isinstance(found.subject, str) else "",
        patient=patient,
    )


def envelope_reader(values: Any) -> Callable[[bytes], Envelope[Any]]:
    """Reads the members of a call, its prefetch values as a msgspec type; the body raises BadRequest when it is no JSON object.

    Where any value does not fit the type, all are handed over as they came: which of them is at fault, and what can be saved of it,
    is for the service to find out. ``Raw``: they always are.
    """
    if values is Raw:
        return _read_envelope
    typed = msgspec.json.Decoder(Envelope[values])

    def read(body: bytes) -> Envelope[Any]:
        try:
            return typed.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return _read_envelope(body)

    return read


def _read_envelope(body: bytes) -> Envelope[Raw]:
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError as error:
        if "prefetch" in str(error):
            raise BadRequest(
                "prefetch must be a JSON object: key to resource, Bundle or null.", "prefetch"
            ) from None
        raise BadRequest(
            "The body must be a JSON object with hook, hookInstance and context.", code="structure"
        ) from None
    except RecursionError:
        raise BadRequest(
            "The body is nested too deeply to be a CDS Hooks request.", code="too-costly"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec's message names the byte position, never the content.
        raise BadRequest(f"The body is not valid JSON in UTF-8: {error}.", code="structure") from None


def read_request(
    body: bytes,
    service_id: str,
    hook: Hook,
    principal: Any = None,
    read_envelope: Callable[[bytes], Envelope[Any]] = _read_envelope,
) -> HookRequest:
    """Read and check one call to a service of ``hook``. Raises BadRequest naming the field."""
    if not body.isascii():
        _check_utf8(body)
    envelope = read_envelope(body)
    for name, what in (
        ("hook", f'the name of the hook, here "{hook.name}"'),
        ("hookInstance", "a UUID for this call"),
    ):
        if not _given(getattr(envelope, name)):
            raise BadRequest(f"{name} is required: {what}.", name, "required")
    name = _text(envelope.hook, "hook")
    if name != hook.name:
        raise BadRequest(
            f"The service {service_id} answers the hook {hook.name}; this call is for another hook. "
            "GET /cds-services names the service of each hook.",
            "hook",
        )
    instance = _text(envelope.hookInstance, "hookInstance")
    if not instance.strip():
        raise BadRequest("hookInstance must not be empty.", "hookInstance", "required")
    if "\0" in instance:
        raise BadRequest("hookInstance must not hold a NUL character; a UUID is expected.", "hookInstance")
    try:
        if nested_deeper_than(bytes(envelope.context), MAX_NESTING):
            raise RecursionError
        context = read_context(envelope.context, hook)
    except RecursionError:
        raise BadRequest("context is nested too deeply to be read.", "context", "too-costly") from None
    server = _text(envelope.fhirServer, "fhirServer") if _given(envelope.fhirServer) else ""
    authorization = None
    if _given(envelope.fhirAuthorization):
        authorization = _authorized(envelope.fhirAuthorization, context)
        if not server:
            raise BadRequest(
                "fhirServer is required when fhirAuthorization is sent.", "fhirServer", "required"
            )
    return HookRequest(
        service_id=service_id,
        hook=name,
        hook_instance=instance,
        context=context,
        prefetch=envelope.prefetch or {},
        fhir_server=server,
        fhir_authorization=authorization,
        extension=envelope.extension,
        body=body,
        principal=principal,
    )
