"""National Drug Codes in one form: 11 digits, labeler 5, product 4, package 2 (FDA's 10-digit forms are padded)."""

from __future__ import annotations

import re

SYSTEM = "http://hl7.org/fhir/sid/ndc"
_PARTS = (5, 4, 2)
#: A 10-digit code without hyphens may be any of these forms.
_TEN_DIGIT_FORMS = ((4, 4, 2), (5, 3, 2), (5, 4, 1))
_HYPHENATED = re.compile(r"\d{4,5}-\d{3,4}-\d{1,2}")


def candidates(code: str) -> tuple[str, ...]:
    """The 11-digit forms a code may stand for: one when it is unambiguous, none when it is no NDC."""
    code = code.strip()
    if _HYPHENATED.fullmatch(code):
        parts = code.split("-")
        return ("".join(part.zfill(width) for part, width in zip(parts, _PARTS, strict=True)),)
    if code.isdigit() and len(code) == 11:
        return (code,)
    if code.isdigit() and len(code) == 10:
        found = []
        for form in _TEN_DIGIT_FORMS:
            ends = (form[0], form[0] + form[1])
            parts = [code[: ends[0]], code[ends[0] : ends[1]], code[ends[1] :]]
            found.append("".join(part.zfill(width) for part, width in zip(parts, _PARTS, strict=True)))
        return tuple(dict.fromkeys(found))
    return ()
