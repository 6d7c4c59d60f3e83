"""What the registry needs to know of a site: how it is watched between visits."""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Literal

from msgspec import Struct

from service.alerts.policy.policy import Policy
from service.fhir.snapshot import NO_MAPS, SiteMaps

Channel = Literal["Task", "Flag", "CommunicationRequest", "DetectedIssue", "webhook"]


class Watch(Struct, frozen=True):
    """How one site's patients are watched.

    Args:
        site: its name.
        policy: the protocol that applies.
        zone: its time zone.
        shadow: evaluate and keep alerts, tell nobody.
        shadow_codes: the same for single findings.
        due_again_after: an open alert is brought up again after so long.
        write_back: what is written into the EHR for an alert; empty = nothing.
        fhir_server: where to.
        webhook: address that is told of every change.
        bulk: read the site with Bulk Data where the server has it.
        maps: the site's own codes and units.
        smoke_free_wards: an admission to this site stops smoking.
        pathway: the site wants information on treatment resistance.
        counts_elsewhere: who holds the blood counts, where the site does not.
    """

    site: str
    policy: Policy
    zone: tzinfo
    shadow: bool = False
    shadow_codes: frozenset[str] = frozenset()
    due_again_after: timedelta = timedelta(days=7)
    write_back: tuple[Channel, ...] = ()
    fhir_server: str = ""
    webhook: str = ""
    bulk: bool = False
    maps: SiteMaps = NO_MAPS
    smoke_free_wards: bool = False
    pathway: bool = False
    counts_elsewhere: str = ""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Ways on which an alert leaves the service; none in shadow mode."""
        if self.shadow:
            return ()
        return (*(c for c in self.write_back if self.fhir_server), *(("webhook",) if self.webhook else ()))
