"""One site: its options, with what they name at hand – the policy is loaded, the zone is a zone, codes are ready to be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from service.alerts.policy.check import find_policy
from service.alerts.policy.policy import Policy, PolicyError
from service.fhir.snapshot import NO_MAPS, SiteMaps
from service.options.options import Errors, Links, SiteOptions, WriteBack

#: Ways on which an alert leaves the service.
Channel = Literal[WriteBack, "webhook"]


class Site(Struct, frozen=True, kw_only=True):
    """A hospital's EHR that calls, or whose patients are watched."""

    name: str
    policy: Policy
    zone: tzinfo
    links: Links = Links()
    maps: SiteMaps = NO_MAPS
    options: SiteOptions = SiteOptions()

    def __repr__(self) -> str:
        return f"Site({self.name!r})"  # in logs and faults: options hold addresses, and a key

    @property
    def selection_behavior(self) -> Literal["any", "at-most-one"]:
        """Epic knows ``any`` alone; everybody else understands ``at-most-one`` (cds-hooks checklist C7b)."""
        return "any" if self.options.profile == "epic" else "at-most-one"

    @property
    def says_errors(self) -> Errors:
        """EHRs show their users nothing for an error status; who tries a client out in the sandbox wants to see it."""
        return self.options.errors or ("status" if self.options.profile == "sandbox" else "card")

    @property
    def fhir_server(self) -> str:
        """Where registered patients are read anew and alerts written; empty: nowhere."""
        return self.options.fhir_servers[0] if self.options.fhir_servers else ""

    @property
    def bulk(self) -> bool:
        """Read the site with Bulk Data where the server has it."""
        return self.options.backend is not None and self.options.backend.bulk

    @property
    def due_again_after(self) -> timedelta:
        """An open alert is brought up again after so long."""
        return timedelta(days=self.options.due_again_days)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Ways on which an alert leaves the service; none in shadow mode."""
        if self.options.shadow:
            return ()
        written = self.options.write_back if self.fhir_server else ()
        return (*written, *(("webhook",) if self.options.webhook else ()))


def site_with(name: str, options: SiteOptions, links: Links | None = None) -> Site:
    """The site that options make. Raises ValueError naming the option at fault."""
    try:
        policy = find_policy(options.policy)
    except PolicyError as error:
        raise ValueError(f"policy: {error}") from error
    try:
        zone = known_zone(options.time_zone)
    except ValueError as error:
        raise ValueError(f"time_zone: {error}") from error
    return Site(
        name=name,
        policy=policy,
        zone=zone,
        links=links or Links(),
        maps=SiteMaps(_split(options.codes), _split(options.units), options.country),
        options=options,
    )


def known_zone(name: str) -> ZoneInfo:
    """A time zone. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone such as America/New_York") from error


def _split(keyed: Mapping[str, str]) -> dict[tuple[str, str], str]:
    pairs = ((key.rpartition("|"), value) for key, value in keyed.items())
    return {(system, code): value for (system, _, code), value in pairs}
