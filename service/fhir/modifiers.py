"""``modifierExtension`` and ``implicitRules``: a sender may say there that a resource means something else than its elements (R4 extensibility.html,
"Modifier Extensions"; resource.html). None is known here: a result that carries one is shown and not judged; any other record is read, and the card says so."""

from __future__ import annotations

from service.alerts.facts.reason import because
from service.fhir.resources import Resource

MODIFIED = because("unread.modified")
#: Bytes of an empty list.
EMPTY = 2


def is_modified(resource: Resource) -> bool:
    """Whether a resource carries a modifierExtension, or names rules that it is to be read by."""
    raw = resource.modifierExtension
    return bool(resource.implicitRules) or (len(raw) > EMPTY and bytes(raw) != b"null")
