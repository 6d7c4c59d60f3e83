"""Whether a document that was not read hints at clozapine: a look at its bytes for the names and codes of the knowledge data.

Meant for calls that failed before or while they were read. It errs on the side of yes: a name counts wherever it stands, also inside a
longer word or an allergy, and a code counts whatever its system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from service.alerts.knowledge import brands, ndc
from service.alerts.knowledge.drugs import names_of
from service.alerts.knowledge.products import codes_with

_CLOZAPINE = "clozapine"
#: A string of JSON that could be a code.
_TOKEN = re.compile(rb'"([0-9A-Za-z][0-9A-Za-z.\-]{2,19})"')
#: A character written by its number (``\u0063lozapine``); an escaped backslash before it makes it plain text, which is let through too.
_ESCAPED = re.compile(rb"\\u([0-9A-Fa-f]{4})")
_NDC_LENGTHS = frozenset({10, 11, 12, 13})


@cache
def _names() -> tuple[bytes, ...]:
    """The names in lower case, without those that hold another; letters beyond ASCII also as they begin or fill a word in capitals."""
    shortest: list[str] = []
    own = {name.lower() for name in names_of(_CLOZAPINE)}
    abroad = {name for name, meanings in brands.by_name().items() if (_CLOZAPINE,) in meanings.values()}
    for name in sorted(own | abroad, key=lambda name: (len(name), name)):
        if not any(known in name for known in shortest):
            shortest.append(name)
    forms: dict[bytes, None] = {}
    for name in shortest:
        spellings = (name,) if name.isascii() else (name, name.upper(), name.capitalize())
        # What is compared is lower case as far as ASCII goes.
        forms |= dict.fromkeys(spelling.encode().lower() for spelling in spellings)
    return tuple(forms)


def _plain(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode("utf-8", "ignore")


def hints_at_clozapine(document: bytes, local_codes: Iterable[str] = ()) -> bool:
    """Whether a document, or a part of one, mentions clozapine.

    Args:
        document: JSON in UTF-8, whole or cut anywhere.
        local_codes: codes that a site uses for clozapine besides those that are known.
    """
    if b"\\u" in document:
        document = _ESCAPED.sub(_plain, document)
    lowered = document.lower()
    if any(name in lowered for name in _names()):
        return True
    codes = codes_with(_CLOZAPINE)
    for token in set(_TOKEN.findall(document)):
        code = token.decode("ascii")
        if code in codes:
            return True
        if len(code) in _NDC_LENGTHS and code[0].isdigit() and any(c in codes for c in ndc.candidates(code)):
            return True
    return any(f'"{code}"'.encode() in document for code in local_codes)
