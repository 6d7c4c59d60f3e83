"""Which policy, and which options of a site, a question is judged under."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import orjson
from msgspec.structs import replace
from pydantic import ValidationError

from service.alerts.policy.check import find_policy
from service.alerts.policy.policy import Policy, PolicyError
from service.judge.errors import JudgeError
from service.options.forms import sentence
from service.options.local_codes import check_codes, check_units
from service.options.options import AnswerOptions, Links, Profile
from service.options.options import SiteOptions as AllOptions
from service.options.site import Site, site_with

DEFAULT_POLICY = "us-label-2025"
_REMEMBERED = 64


class SiteOptions(TypedDict, total=False):
    """Options of a site by their names in the configuration file, as far as they bear on an answer. All have the defaults of the service.

    For readers and type checkers: what is taken is what ``service.options.options.AnswerOptions`` declares (tests hold both together).
    """

    #: IANA name; it decides which day a moment belongs to. Default UTC.
    time_zone: str
    #: Local codes: ``system|code`` -> id of a result kind or of a drug.
    codes: Mapping[str, str]
    #: Units of results sent without one: ``system|code`` -> unit.
    units: Mapping[str, str]
    #: Where the site is (two letters of ISO 3166): a brand that means another drug elsewhere is read as there.
    country: str
    #: An admission of a smoker counts as a stop of smoking.
    smoke_free_wards: bool
    #: Information on treatment resistance when a chart is opened.
    pathway: bool
    #: Prefetch keys that the site does not have: no card says that they are missing.
    not_sent: Sequence[str]
    #: Who holds the blood counts, where the site does not: one that is missing or overdue is information then.
    counts_elsewhere: str
    #: The brand of clozapine that the site's patients take, where the record names none.
    clozapine_brand: str
    #: Cards of one answer, 1 to 10.
    card_limit: int
    #: ``generic``, ``epic``, ``oracle``, ``athena`` or ``sandbox``: what the client can show and apply.
    profile: Profile
    #: In the links of cards.
    base_url: str
    #: System of the finding codes on cards.
    finding_system: str


#: What is taken: whatever the service itself declares to bear on an answer.
_NAMES = (*AnswerOptions.model_fields, *Links.model_fields)


class _Given(AllOptions, Links):
    """What was handed over; neither the environment nor a file has a say in it."""


def site_for(policy: str | Path | Policy | None, site: Site | SiteOptions | None) -> Site:
    """The site with everything resolved. Raises JudgeError naming what cannot be used."""
    if isinstance(site, Site):
        return site if policy is None else replace(site, policy=_policy(policy))
    found = _policy(DEFAULT_POLICY if policy is None else policy)
    if site is not None and not isinstance(site, Mapping):
        raise JudgeError("site: a dict of options is expected, such as {'time_zone': 'Europe/London'}")
    for name in site or ():
        if name not in _NAMES:
            near = difflib.get_close_matches(str(name), _NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_NAMES)}"
            raise JudgeError(f"site: {name!r} is no option that bears on an answer; {hint}")
    try:
        key = orjson.dumps(dict(site or {}), option=orjson.OPT_SORT_KEYS, default=_plain)
    except TypeError as error:
        raise JudgeError(f"site: its options hold what is not JSON ({error})") from None
    return replace(_site(key), policy=found)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError(type(value).__name__)


@lru_cache(maxsize=_REMEMBERED)
def _site(options: bytes) -> Site:
    try:
        given = _Given.model_validate_json(options)
        check_codes(given.codes)
        check_units(given.units)
        return site_with(
            "default", given, Links(base_url=given.base_url, finding_system=given.finding_system)
        )
    except ValidationError as error:
        raise JudgeError(f"site: {sentence(error)}") from None
    except ValueError as error:
        raise JudgeError(f"site: {error}") from None


def _policy(policy: str | Path | Policy) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, str | Path):
        raise JudgeError(
            "policy: the id of a shipped policy, the path of a .toml file or a Policy is expected"
        )
    try:
        if not str(policy).endswith(".toml"):
            return find_policy(policy)
        path = Path(policy).resolve()
        try:
            state = path.stat()
        except OSError:
            return find_policy(policy)  # it says what is wrong with the file
        return _from_file(path, state.st_mtime_ns, state.st_size)
    except PolicyError as error:
        raise JudgeError(f"policy: {error}") from None


@lru_cache(maxsize=_REMEMBERED)
def _from_file(path: Path, _changed: int, _size: int) -> Policy:
    """A file is read again when it has changed, not for every question."""
    return find_policy(path)
