"""Leave from the ward, as the reason why a charted dose was not given there: it was taken home, or was not, and nobody saw it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from service.alerts.facts.record_text import NAME, to_read
from service.alerts.facts.remembered_texts import remembering

#: Agreed leave; of a patient who left without it nobody may suppose that tablets went along.
_LEAVE = re.compile(
    r"\b(?:on|home|day|weekend|overnight|trial|therapeutic|section 17|s17|approved|authori[sz]ed) (?:leave|pass)\b|\bleave of absence\b|\bloa\b"
    r"|\bbeurlaub(?:t|ung)\b|\b(?:op|met|weekend)\s?verlof\b|\ben permission\b",
    re.IGNORECASE,
)
_WITHOUT_LEAVE = re.compile(
    r"\b(?:without|absconded|awol|unauthori[sz]ed|unapproved|failed to return|overdue|ohne|unerlaubt|ongeoorloofd|sans)\b",
    re.IGNORECASE,
)
_any = msgspec.json.Decoder()


@remembering(1024, 1000)
def _is_leave(reason: bytes) -> bool:
    try:
        decoded = _any.decode(reason)
    except (msgspec.DecodeError, RecursionError):
        return False
    words = to_read(" | ".join(_words(decoded)), NAME)
    return words is not None and _LEAVE.search(words) is not None and _WITHOUT_LEAVE.search(words) is None


def _words(reasons: Any) -> list[str]:
    found: list[str] = []
    for concept in reasons if isinstance(reasons, list) else [reasons]:
        if isinstance(concept, dict):
            codings = concept.get("coding")
            found.append(str(concept.get("text") or ""))
            found += [
                str(c.get("display") or "")
                for c in (codings if isinstance(codings, list) else ())
                if isinstance(c, dict)
            ]
    return found


def is_on_leave(reason: Raw) -> bool:
    """Whether a MedicationAdministration's ``statusReason`` says that the patient was on leave."""
    content = bytes(reason)
    return bool(content) and _is_leave(content)
