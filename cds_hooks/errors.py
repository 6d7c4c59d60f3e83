"""Errors of the protocol: one sentence a person can act on, as an OperationOutcome (cds-hooks checklist A3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class ProtocolError(Exception):
    """A call that cannot be answered with cards.

    Args:
        status: HTTP status.
        message: what is wrong, what was expected and what to do; never data of the patient.
        code: FHIR issue type (http://hl7.org/fhir/issue-type).
        expression: the element at fault, e.g. ``context.patientId``; or several.
        headers: further response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "invalid",
        expression: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.expression = expression
        self.headers = dict(headers or {})

    def outcome(self) -> bytes:
        """The response body."""
        return operation_outcome(self.message, code=self.code, expression=self.expression)


class BadRequest(ProtocolError):
    """400: the call is malformed."""

    def __init__(self, message: str, expression: str | None = None, code: str = "invalid") -> None:
        super().__init__(400, message, code=code, expression=expression)


class PreconditionFailed(ProtocolError):
    """412: data that is needed can be had neither from prefetch nor from the FHIR server (P5)."""

    def __init__(self, missing: Sequence[str], message: str) -> None:
        super().__init__(412, message, code="required", expression=[f"prefetch.{key}" for key in missing])


def operation_outcome(
    message: str,
    *,
    code: str = "invalid",
    expression: str | Sequence[str] | None = None,
    severity: str = "error",
) -> bytes:
    """A FHIR R4 OperationOutcome with one issue."""
    issue: dict[str, object] = {"severity": severity, "code": code, "details": {"text": message}}
    if expression:
        issue["expression"] = [expression] if isinstance(expression, str) else list(expression)
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})
