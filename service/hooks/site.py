"""One EHR that calls the service, and how it wants to be answered."""

from __future__ import annotations

from datetime import tzinfo
from typing import Literal

from msgspec import Struct

from service.alerts.policy.policy import Policy
from service.fhir.snapshot import NO_MAPS, SiteMaps

Profile = Literal["generic", "epic", "oracle", "athena", "sandbox"]
#: How a call that could not be judged, and hints at clozapine, is answered: with a card that says so, or with the error status.
Errors = Literal["card", "status"]


class Site(Struct, frozen=True, kw_only=True):
    """Settings of one EHR, resolved: the policy is loaded, the zone is a zone."""

    name: str
    policy: Policy
    zone: tzinfo
    base_url: str
    finding_system: str
    fhir_servers: tuple[str, ...] = ()
    fhir_deadline_seconds: float = 0.4
    profile: Profile = "generic"
    #: None: as the profile has it.
    errors: Errors | None = None
    card_limit: int = 10
    shadow: bool = False
    #: Finding codes that are evaluated and recorded, and not shown.
    shadow_codes: frozenset[str] = frozenset()
    smoke_free_wards: bool = False
    maps: SiteMaps = NO_MAPS
    #: Hooks that are switched on; None: all.
    hooks: frozenset[str] | None = None
    #: Patients seen on clozapine are remembered.
    enrol: bool = True
    #: An override with a reason silences the same finding for so long.
    snooze_days: int = 7
    #: The treatment-resistance pathway, off unless the site asks for it.
    pathway: bool = False
    #: Prefetch keys that this site does not have: not asked for, and no card says that they are missing.
    not_sent: tuple[str, ...] = ()
    #: Who holds the blood counts, where this site does not; empty: it holds them itself.
    counts_elsewhere: str = ""
    #: Calls per second; None: not limited.
    calls_per_second: float | None = None

    @property
    def selection_behavior(self) -> Literal["any", "at-most-one"]:
        """Epic knows ``any`` alone; everybody else understands ``at-most-one`` (cds-hooks checklist C7b)."""
        return "any" if self.profile == "epic" else "at-most-one"

    @property
    def says_errors(self) -> Errors:
        """EHRs show their users nothing for an error status; who tries a client out in the sandbox wants to see it."""
        return self.errors or ("status" if self.profile == "sandbox" else "card")
