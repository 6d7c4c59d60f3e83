"""Who may call and what they are bound to: EHRs of the configuration and of the database become clients, sites and listed addresses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cds_hooks import Authenticator, CachedKeys, Client
from cds_hooks.keys import Fetch
from service.alerts.policy.policy import Policy
from service.alerts.say.finding_codes import check_finding_codes
from service.ops.connections import Lines
from service.ops.metrics import Metrics
from service.ops.outbound import Address, Guard, address_of, fetch_key_set, guarded_client
from service.ops.troubles import Troubles
from service.options.forms import sentence
from service.options.options import check_told
from service.options.site import Site
from service.registry.ehr_sites import stored_ehrs
from service.site.ehrs import EhrSettings, any_tenant, check_together
from service.site.settings import Settings, SettingsError, check_policies
from service.store.database import engine_for
from service.trail.used_tokens import DatabaseReplays

log = logging.getLogger("service.site.trust")

#: EHRs that are added while the service runs are found after so many seconds.
_RELOAD_SECONDS = 30.0


class _Ehr(Struct, frozen=True):
    """One EHR, ready to be asked."""

    settings: EhrSettings
    site: Site
    keys: CachedKeys
    client: Client


def _warn_of_codes(ehr: EhrSettings) -> None:
    """A slip in the codes of a stored EHR silences nothing, and is no reason to leave the EHR out."""
    try:
        check_finding_codes(ehr.shadow_codes)
    except ValueError as error:
        log.warning("the stored EHR %s: shadow_codes: %s; it is passed over", ehr.name, error)


def _telling(site: Site) -> Site:
    """A stored site that could tell nobody of an alert is asked and watched all the same."""
    try:
        check_told(site.options)
    except ValueError as error:
        log.error("the stored EHR %s: %s; nobody is told of its alerts", site.name, error)
        return replace(
            site,
            options=site.options.model_copy(update={"write_back": (), "webhook": "", "subscriptions": "off"}),
        )
    return site


def _key_addresses(ehr: EhrSettings) -> frozenset[Address]:
    return frozenset(map(address_of, filter(None, (ehr.jwks_uri,))))


def _addresses(ehr: EhrSettings | Settings) -> frozenset[Address]:
    """Hosts and ports that may be called for an EHR: its FHIR servers and keys, and where its alerts go."""
    keys = ehr.jwks_uri if isinstance(ehr, EhrSettings) else ""
    token = ehr.backend.token_url if ehr.backend is not None else ""
    return frozenset(address_of(url) for url in (*ehr.fhir_servers, keys, token, ehr.webhook) if url)


class Directory:
    """The EHRs that may call.

    Args:
        settings: checked settings; their EHRs win over those of the database.
        engine: where EHRs are stored that were added on the command line.
        on_renewed: told the name of a line whose connections were stuck and were renewed.
    """

    def __init__(
        self, settings: Settings, engine: Engine, on_renewed: Callable[[str], None] = lambda name: None
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._ehrs: dict[tuple[str, str], _Ehr] = {}
        self._troubles = Troubles(log)
        self._warnings = Troubles(log, logging.WARNING)
        self._seen: list[EhrSettings] = []
        self._only = settings.site() if settings.auth == "off" else None
        settings.check_watched()
        self._shared = frozenset(map(address_of, filter(None, (settings.terminology_server,))))
        self._own = _addresses(settings).union(*map(_addresses, settings.all_ehrs))
        self._key_addresses: frozenset[Address] = frozenset()
        #: The connections of the event loop that answers calls.
        self.lines = Lines(settings.private_networks, settings.ca_file, on_renewed=on_renewed)
        if settings.auth == "required":
            settings.check_ehrs()
            self.reload()

    def new_client(self, site: str) -> httpx.AsyncClient:
        """A client of its own for work beside the calls of a site, such as its sweep; it reaches the addresses of that site only."""
        guard = Guard(lambda: self._addresses_of(site), self._settings.private_networks)
        return guarded_client(guard, self._settings.ca_file)

    def _addresses_of(self, site: str) -> frozenset[Address]:
        """Hosts and ports that work for a site may call: no other site's."""
        if self._only is not None:
            return self._own if site == self._only.name else frozenset()
        return frozenset().union(
            *(_addresses(e.settings) for e in self._ehrs.values() if e.site.name == site)
        )

    def fhir_client(self, site: str, base_url: str) -> httpx.AsyncClient:
        """The client of one FHIR server of a site; it reaches nothing else, and no other site or server shares its connections."""
        return self.lines.client(
            f"fhir {site}", base_url, lambda: frozenset({address_of(base_url)}), breaks=True
        )

    @property
    def key_client(self) -> httpx.AsyncClient:
        """The client of the key servers."""
        return self.lines.client("keys", "", lambda: self._key_addresses)

    @property
    def terminology_client(self) -> httpx.AsyncClient:
        """The client of the terminology server."""
        return self.lines.client("terminology", "", lambda: self._shared, breaks=True)

    @property
    def sites(self) -> list[Site]:
        """The sites, by name."""
        return sorted((ehr.site for ehr in self._ehrs.values()), key=lambda site: site.name)

    @property
    def many(self) -> int:
        """How many sites there are, at least one."""
        return len(self._ehrs) or 1

    @property
    def by_name(self) -> dict[str, Site]:
        """Every site by its name; without authentication the only one."""
        if self._only is not None:
            return {self._only.name: self._only}
        return {ehr.site.name: ehr.site for ehr in self._ehrs.values()}

    def named(self, name: str) -> Site | None:
        """One site; None for an unknown one."""
        return self.by_name.get(name)

    @property
    def problems(self) -> str:
        """Which EHRs cannot be verified now, and why; empty when all can."""
        found = [f"{e.settings.name}: {e.keys.problem}" for e in self._ehrs.values() if e.keys.problem]
        return "; ".join(found) if self._ehrs else "no EHR may call yet"

    def client_of(self, issuer: str, tenant: str) -> Client | None:
        """The client a token claims to be from. A site without a tenant takes all tenants of its issuer."""
        ehr = self._ehrs.get((issuer, tenant)) or self._ehrs.get((issuer, ""))
        return ehr.client if ehr is not None else None

    def reload(self) -> None:
        """Read the database again. EHRs that did not change keep their keys; a database that is away changes nothing."""
        try:
            stored = stored_ehrs(self._engine)
        except SQLAlchemyError as error:
            self._troubles.says("the stored EHRs cannot be read", type(error).__name__)
            if self._ehrs:
                return
            stored = []
        else:
            self._troubles.says("the stored EHRs cannot be read", "")
        known = {ehr.settings.name: ehr for ehr in self._ehrs.values()}
        ehrs = []
        for settings in [*self._settings.all_ehrs, *self._sound(stored)]:
            if not settings.enabled:
                continue
            self._warnings.says(f"issuer of {settings.name}", any_tenant(settings))
            before = known.get(settings.name)
            unchanged = before is not None and before.settings == settings
            ehrs.append(before if before is not None and unchanged else self._ehr(settings))
        self._key_addresses = frozenset().union(*(_key_addresses(e.settings) for e in ehrs))
        self._ehrs = {(e.settings.issuer, e.settings.tenant): e for e in ehrs}

    @contextmanager
    def also_listing(self, ehr: EhrSettings) -> Iterator[None]:
        """Let the key server of an EHR be called for the time of a check."""
        before = self._key_addresses
        self._key_addresses = before | _key_addresses(ehr)
        try:
            yield
        finally:
            self._key_addresses = before

    def _sound(self, stored: list[dict[str, Any]]) -> list[EhrSettings]:
        """Stored EHRs that can be used; one that cannot must not keep the others out."""
        taken = list(self._settings.all_ehrs)
        for sealed in stored:
            content, unread = self._settings.secrets.opened(sealed)
            name = str(content.get("name"))
            self._troubles.says(f"the stored EHR {name}", "; ".join(unread))
            left_out = ""
            try:
                ehr = EhrSettings.model_validate(content)
                check_together([*taken, ehr])
                check_policies([self._settings.site_of(e) for e in (*taken, ehr)])
            except ValidationError as error:
                left_out = sentence(error, name)
            except ValueError as error:
                left_out = str(error)
            else:
                taken.append(ehr)
                if ehr not in self._seen:
                    _warn_of_codes(ehr)
            self._troubles.says(f"a stored EHR is left out ({name})", left_out)
        self._seen = taken
        return taken[len(self._settings.all_ehrs) :]

    def _ehr(self, settings: EhrSettings) -> _Ehr:
        site = _telling(self._settings.site_of(settings))
        keys = CachedKeys(
            self.key_source(settings),
            name=settings.name,
            fresh_seconds=self._settings.key_fresh_seconds,
            keep_seconds=self._settings.key_keep_seconds,
            refetch_seconds=self._settings.key_refetch_seconds,
        )
        client = Client(
            issuer=settings.issuer,
            find_key=keys.find,
            principal=site,
            jku=frozenset(filter(None, (settings.jwks_uri, *settings.jku))),
            audiences=frozenset(settings.audience),
            algorithms=frozenset(settings.algorithms),
            max_lifetime_seconds=settings.token_seconds,
        )
        return _Ehr(settings, site, keys, client)

    def key_source(self, settings: EhrSettings) -> Fetch:
        """Where the keys of an EHR come from: its address, a file (read again like an address), or the settings themselves."""

        async def from_address() -> bytes:
            return await fetch_key_set(self.key_client, settings.jwks_uri)

        async def from_file() -> bytes:
            return await asyncio.to_thread(Path(settings.jwks_file).read_bytes)

        async def inline() -> bytes:
            return orjson.dumps({"keys": settings.keys})

        return from_address if settings.jwks_uri else from_file if settings.jwks_file else inline

    def policy(self, site: str) -> Policy | None:
        """The policy of a site; None for an unknown one."""
        found = self.named(site)
        return found.policy if found is not None else None

    async def keep_current(self, reloaded: Callable[[], None] = lambda: None) -> None:
        """Fetch the keys of all EHRs, then look for new EHRs now and then; runs until cancelled. ``reloaded`` is told."""
        while True:
            await asyncio.gather(
                *(ehr.keys.refresh() for ehr in list(self._ehrs.values()) if ehr.keys.problem)
            )
            await asyncio.sleep(_RELOAD_SECONDS)
            try:
                await asyncio.to_thread(self.reload)
            except SettingsError as error:
                log.error("the EHRs could not be read again: %s", error)
            reloaded()


def require_ehrs(settings: Settings) -> None:
    """Refuse to start when nobody could call. Raises SettingsError."""
    if settings.auth == "off" or settings.all_ehrs:
        return
    engine = engine_for(settings.database_url)
    try:
        found = stored_ehrs(engine)
    except SQLAlchemyError as error:
        raise SettingsError(
            f"ehr: auth = required, no EHR is configured, and the database cannot be read ({type(error).__name__}); "
            "add an [[ehr]] table, or run clozapine-cds db upgrade and clozapine-cds ehr add"
        ) from None
    finally:
        engine.dispose()
    if not found:
        raise SettingsError(
            "ehr: auth = required, and no EHR may call yet; add an [[ehr]] table or run clozapine-cds ehr add"
        )


def authenticator(
    directory: Directory,
    settings: Settings,
    replays: DatabaseReplays,
    metrics: Metrics,
    clock: Callable[[], datetime],
) -> Authenticator:
    """The check of every call. A refusal is logged and counted with its reason, never with the token."""

    def refused(reason: str, path: str, client: Client | None) -> None:
        metrics.refused(reason)
        name = client.principal.name if client is not None else "unknown"
        log.warning("refused: %s (site %s, %s)", reason, name, _known_path(path))

    return Authenticator(
        directory.client_of,
        base_url=settings.base_url,
        replays=replays,
        clock=clock,
        on_refused=refused,
        leeway_seconds=settings.clock_skew_seconds,
    )


def _known_path(path: str) -> str:
    """The path for the log; what strangers make up is not repeated."""
    parts = path.split("/")
    plain = len(path) <= 80 and all(part.replace("-", "").isalnum() for part in parts if part)
    return path if plain and path.isascii() else "another path"


def hooks_of(principal: object) -> Collection[str] | None:
    """The hooks switched on for a site; None: all."""
    return principal.options.hooks if isinstance(principal, Site) else None
