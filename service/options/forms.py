"""The forms that values of options have: addresses, schedules, prefetch keys, hooks, local codes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from apscheduler.triggers.cron import CronTrigger
from pydantic import ValidationError

from cds_hooks import HOOKS
from service.fhir.queries import QUERIES
from service.ops.outbound import is_loopback

_ABSOLUTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")
_SEARCH = re.compile(
    r"(Observation|DiagnosticReport|MedicationRequest|MedicationStatement|MedicationDispense|MedicationAdministration)\?[^\s#]*"
)
_LONGEST_SEARCH = 500
#: Prefetch keys that no site may declare missing.
NEEDED = frozenset({"counts", "medications"})


def https_url(value: str, example: str) -> str:
    """An absolute https URL; plain http on this machine alone. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is not an absolute URL such as {example}")
    if parts.username or parts.password:
        raise ValueError("a URL with a user name or password is not accepted")
    if parts.scheme == "http" and not is_loopback(value):
        raise ValueError(f"{value!r} must begin with https://; plain http is for loopback only")
    return value


def known_schedule(value: str) -> str:
    """Five cron fields, or nothing. Raises ValueError."""
    if value:
        try:
            CronTrigger.from_crontab(value)
        except ValueError as error:
            raise ValueError(
                f"{value!r} is not a schedule of five cron fields such as '30 5 * * *' ({error})"
            ) from error
    return value


def known_keys(value: tuple[str, ...]) -> tuple[str, ...]:
    """Prefetch keys that a site may do without. Raises ValueError."""
    for key in value:
        if key in NEEDED:
            raise ValueError(f"{key!r}: without it nothing can be checked; it must be sent or fetched")
        if key not in QUERIES:
            raise ValueError(f"{key!r} is not one of the prefetch keys {', '.join(QUERIES)}")
    return value


def known_hooks(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names of hooks. Raises ValueError."""
    for hook in value or ():
        if hook not in HOOKS:
            raise ValueError(f"{hook!r} is not one of {', '.join(HOOKS)}")
    return value


def known_searches(value: tuple[str, ...]) -> tuple[str, ...]:
    """Searches of types that are read, such as Observation?category=laboratory. Raises ValueError."""
    for search in value:
        if len(search) > _LONGEST_SEARCH or not _SEARCH.fullmatch(search):
            raise ValueError(f"{search!r} is not a search such as Observation?category=laboratory")
    if len(set(value)) != len(value):
        raise ValueError("a search stands there twice")
    return value


def by_system_and_code(keys: Iterable[str]) -> None:
    """Local codes are named with their system. Raises ValueError."""
    for key in keys:
        if "|" not in key:
            raise ValueError(f'the key {key!r} must be "system|code"')


def public_url(value: str) -> str:
    """The service's own public address, without a slash at its end. Raises ValueError."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("an absolute URL is expected, such as https://cds.hospital.example")
    return value.rstrip("/")


def absolute_uri(value: str) -> str:
    """The name of a code system. Raises ValueError."""
    if not _ABSOLUTE.match(value):
        raise ValueError("an absolute URI is expected, such as https://cds.hospital.example/findings")
    return value


def sentence(error: ValidationError, where: str = "") -> str:
    """The first thing that is wrong, with the setting's name."""
    first = error.errors(include_input=False, include_url=False)[0]
    # A step in brackets is pydantic's own, of a union or a validator.
    name = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    path = ".".join(part for part in (where, name) if part)
    if first["type"] == "extra_forbidden":
        return f"{path}: there is no such setting"
    if first["type"] == "missing":
        return f"{path}: it is required"
    return f"{path or 'ehr'}: {first['msg'].removeprefix('Value error, ')}"
