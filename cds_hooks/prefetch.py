"""Prefetch: what a template may ask for (D7, D8), and its query for one call."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

from cds_hooks.context import Context

_TOKEN = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_SIMPLE_TOKEN = re.compile(
    r"^(context\.(patientId|userId|encounterId)|user(Practitioner|PractitionerRole|Patient|RelatedPerson)Id)$"
)
_MODIFIER = re.compile(r":(?!in$)")
_DATE_PARAMETERS = frozenset(
    {"date", "_lastUpdated", "authoredon", "effective", "whenhandedover", "effective-time"}
)
_DATE_PREFIX = re.compile(r"^(eq|lt|gt|ge|le)?\d{4}")
_RESULT_PARAMETERS = frozenset({"_count", "_maxresults", "_sort"})
_PATH = re.compile(r"^[A-Z][A-Za-z]+(/[^/?]+)?$")


def check_template(template: str) -> None:
    """Refuse a template that widely used clients cannot fill. Raises ValueError with the part at fault."""
    for token in _TOKEN.findall(template):
        if not _SIMPLE_TOKEN.match(token):
            raise ValueError(
                f"prefetch token {{{{{token}}}}}: only simple context fields and user ids are widely supported"
            )
    path, _, query = template.partition("?")
    if not _PATH.match(path) or (query and "/" in path):
        raise ValueError(
            f"prefetch template {template!r}: an instance read or a type-level search is expected"
        )
    names = [name for name, _ in parse_qsl(query)]
    if len(names) != len(set(names)):
        raise ValueError(f"prefetch template {template!r}: a parameter is repeated, which some clients merge")
    for name, value in parse_qsl(query):
        if "." in name or _MODIFIER.search(name):
            raise ValueError(
                f"prefetch parameter {name!r}: chains and modifiers other than :in are not supported"
            )
        if name in _DATE_PARAMETERS and not _DATE_PREFIX.match(value):
            raise ValueError(f"prefetch parameter {name!r}: a date with eq, lt, gt, ge or le is expected")
        if name.startswith("_") and name not in _RESULT_PARAMETERS and name != "_lastUpdated":
            raise ValueError(f"prefetch parameter {name!r}: only _count, _maxresults and _sort are supported")


def fill(template: str, context: Context) -> str | None:
    """The query of a template for this call; None when a token has no value here."""
    user_type, _, user_id = context.user_id.partition("/")
    values = {
        "context.patientId": context.patient_id,
        "context.userId": context.user_id,
        "context.encounterId": context.encounter_id,
        f"user{user_type}Id": user_id,
    }
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = values.get(match.group(1), "")
        missing = missing or not found
        return quote(found, safe="/")

    filled = _TOKEN.sub(value, template)
    return None if missing else filled
