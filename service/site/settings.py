"""Settings: environment ``CLOZAPINE_CDS_*`` over the TOML file named by ``CLOZAPINE_CDS_CONFIG`` (contract "Configuration")."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_serializer, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service.alerts.policy.check import find_policy
from service.alerts.policy.policy import Policy, PolicyError
from service.alerts.say.finding_codes import check_finding_codes
from service.ops.outbound import IPNetwork, address_of, is_loopback
from service.options.forms import https_url
from service.options.local_codes import check_codes, check_units
from service.options.options import OF_ONE_EHR, Links, SiteOptions, check_told, inherited
from service.options.site import Site, known_zone, site_with
from service.site.clients import RegistryClient
from service.site.ehrs import EhrSettings, check_together
from service.site.secrets import Secrets

PREFIX = "CLOZAPINE_CDS_"
#: The open-source sandbox client publishes its private key.
_SANDBOX = "sandbox.cds-hooks.org"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


_ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s]+$")
#: Of one EHR, while calls are authenticated and no setting says otherwise.
_CALLS_PER_SECOND = 100.0
#: Characters of a key that seals.
_SHORTEST_KEY = 32


class SettingsError(ValueError):
    """A setting that stops the start; the message names it."""


class Settings(SiteOptions, Links, BaseSettings):
    """Everything that can be configured. A wrong value stops the start with a sentence that names the setting.

    The options of a site stand in ``service.options``: here they are the defaults of every EHR.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True)

    #: May hold a password: never shown; see :func:`load_settings` for CLOZAPINE_CDS_DATABASE_URL_FILE.
    database_url: str = Field(default="sqlite:///var/clozapine-cds.db", repr=False)
    #: Seals the secrets of EHRs that are stored in the database; the same for all processes. Belongs into the environment, not the file.
    secrets_key: SecretStr = SecretStr("")
    auth: Literal["off", "required"] = "off"
    site_name: str = Field(default="default", min_length=1, max_length=100)
    #: Origins of browser clients; ``*`` allows all. Default: all while authentication is off, none otherwise.
    allowed_origins: tuple[str, ...] | None = None
    #: EHRs that may call when authentication is on: tables of the file, and CLOZAPINE_CDS_EHRS (JSON).
    ehr: tuple[EhrSettings, ...] = ()
    ehrs: tuple[EhrSettings, ...] = ()
    #: How far the clocks of an EHR and of this service may differ.
    clock_skew_seconds: int = Field(default=30, ge=0, le=120)
    #: Client keys: fetched again when older than this, believed so long while the key server is away, at most one fetch in this time.
    key_fresh_seconds: float = Field(default=300.0, ge=1, le=86_400)
    key_keep_seconds: float = Field(default=86_400.0, ge=1, le=604_800)
    key_refetch_seconds: float = Field(default=10.0, ge=0.1, le=3600)
    #: Networks that are not public and may be called all the same, such as 10.20.0.0/16.
    private_networks: tuple[IPNetwork, ...] = ()
    #: Certificates (PEM) trusted besides the public ones.
    ca_file: Path | None = None
    #: Calls answered at once by one process, whose bodies are there; one more gets 503. Half of the places are kept for each EHR in equal parts.
    max_concurrent_calls: int = Field(default=200, ge=1, le=10_000)
    #: Connections of one process; one more takes the place of one that sends nothing.
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    call_seconds: float = Field(default=10.0, gt=0, le=60)
    #: A body that comes more slowly is given up after its first two seconds; 0 = never.
    body_bytes_per_second: int = Field(default=5000, ge=0, le=1_000_000)
    #: Processes kept ready for calls with large bodies, so that these hold nobody else up; 0: such calls are judged beside all others.
    judging_processes: int = Field(default=2, ge=0, le=64)
    #: Processor seconds that one of them may spend on a call; then the call is ended.
    judging_seconds: float = Field(default=5.0, gt=0, le=60)
    max_body_bytes: int = Field(default=5_000_000, ge=10_000, le=100_000_000)
    #: Days for which calls, cards and feedback are kept; 0 = for good.
    retention_days: int = Field(default=0, ge=0, le=36_500)
    #: Whether a replica whose database is away is taken out of service, although it would go on answering hooks.
    ready_needs_database: bool = False
    #: Folder in which calls are kept until the database has them. Default: beside the embedded database, else var/spool. "none": a stop or a kill loses what waits.
    spool: str = ""
    spool_megabytes: int = Field(default=256, ge=1, le=100_000)
    #: FHIR terminology server asked about medication codes that nothing recognises, and how long a call waits for it.
    terminology_server: str = ""
    terminology_deadline_ms: int = Field(default=150, ge=10, le=5000)
    #: Who may use the registry's routes. Empty: nobody, or, while authentication is off, everybody on loopback.
    clients: tuple[RegistryClient, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_style: Literal["json", "console"] = "json"

    @field_validator("fhir_servers")
    @classmethod
    def _absolute_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not an absolute URL")
        return value

    @field_validator("secrets_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(
                f"at least {_SHORTEST_KEY} characters are expected, such as openssl rand -base64 32 gives"
            )
        return value

    @field_validator("ca_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        try:
            kind = make_url(value).get_backend_name()
        except (ArgumentError, ValueError):
            kind = ""
        if kind not in ("sqlite", "postgresql"):
            # The value is not repeated: it may hold a password.
            raise ValueError(
                "a database URL is expected, of SQLite or PostgreSQL, such as postgresql://cds@db.example/cds"
            )
        return value

    @field_serializer("database_url")
    def _without_password(self, value: str) -> str:
        try:
            return make_url(value).render_as_string(hide_password=True)
        except ArgumentError:
            return "***"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        known_zone(value)
        return value

    @field_validator("terminology_server")
    @classmethod
    def _secure_terminology(cls, value: str) -> str:
        return https_url(value, "https://terminology.hospital.example/fhir") if value else ""

    @field_validator("codes")
    @classmethod
    def _known_targets(cls, value: dict[str, str]) -> dict[str, str]:
        check_codes(value)
        return value

    @field_validator("units")
    @classmethod
    def _known_units(cls, value: dict[str, str]) -> dict[str, str]:
        check_units(value)
        return value

    @field_validator("shadow_codes")
    @classmethod
    def _known_findings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_finding_codes(value)
        return value

    @field_validator("ehr", "ehrs")
    @classmethod
    def _known_findings_of_ehrs(cls, value: tuple[EhrSettings, ...]) -> tuple[EhrSettings, ...]:
        # Not EhrSettings' own check: an EHR that was stored with a slip must not be left out for it.
        for ehr in value:
            try:
                check_finding_codes(ehr.shadow_codes)
            except ValueError as error:
                raise ValueError(f"{ehr.name}: shadow_codes: {error}") from None
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for origin in value or ():
            if origin != "*" and not _ORIGIN.match(origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://ehr.example or https://ehr.example:8443, "
                    "without a slash at the end; * stands for all"
                )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        path = os.environ.get(f"{PREFIX}CONFIG")
        if path:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(path)))
        return tuple(sources)

    @property
    def origins(self) -> tuple[str, ...]:
        """Browser origins that are let in."""
        if self.allowed_origins is not None:
            return self.allowed_origins
        return ("*",) if self.auth == "off" else ()

    def check_watched(self) -> None:
        """Refuse what would fail when patients are watched or results read. Raises SettingsError."""
        for ehr in self.all_ehrs or ((None,) if self.auth == "off" else ()):
            where = f"ehr {ehr.name}: " if ehr is not None else ""
            try:
                check_told(self.options_of(ehr))
            except ValueError as error:
                raise SettingsError(f"{where}{error}") from None
        for ehr in self.all_ehrs:
            try:
                check_codes(ehr.codes)
                check_units(ehr.units)
            except ValueError as error:
                raise SettingsError(f"ehr {ehr.name}: codes or units: {error}") from None

    def spool_folder(self) -> Path | None:
        """Where calls are kept until the database has them; None for nowhere."""
        if self.spool == "none":
            return None
        if self.spool:
            return Path(self.spool)
        address = make_url(self.database_url)
        if address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:"):
            return Path(str(address.database)).parent / "spool"
        return Path("var/spool")

    def load_policy(self) -> Policy:
        """The configured policy. Raises SettingsError."""
        try:
            return find_policy(self.policy)
        except PolicyError as error:
            raise SettingsError(f"policy: {error}") from error

    @property
    def secrets(self) -> Secrets:
        """Seals and opens what is stored."""
        return Secrets(self.secrets_key.get_secret_value())

    @property
    def all_ehrs(self) -> tuple[EhrSettings, ...]:
        """The EHRs of the configuration."""
        return (*self.ehr, *self.ehrs)

    def site(self) -> Site:
        """The one site of a service without authentication: the only EHR configured, or the general settings. Raises SettingsError."""
        return self.site_of(self.all_ehrs[0] if len(self.all_ehrs) == 1 else None)

    @property
    def links(self) -> Links:
        """How the service names itself on cards."""
        return Links(base_url=self.base_url, finding_system=self.finding_system)

    def options_of(self, ehr: EhrSettings | None) -> SiteOptions:
        """The options of one EHR; with None those of the general settings."""
        options = inherited(self, ehr)
        if options.calls_per_second is None and self.auth == "required":
            return options.model_copy(update={"calls_per_second": _CALLS_PER_SECOND})
        return options

    def site_of(self, ehr: EhrSettings | None) -> Site:
        """An EHR, or the one site of the general settings, with everything resolved. Raises SettingsError naming EHR and setting."""
        if (
            ehr is not None
            and not is_loopback(self.base_url)
            and _SANDBOX in (address_of(ehr.issuer)[0], address_of(ehr.jwks_uri)[0])
        ):
            raise SettingsError(
                f"ehr {ehr.name}: issuer: everybody has the private key of {_SANDBOX}; it is trusted on loopback only"
            )
        name = ehr.name if ehr is not None else self.site_name
        where = f"ehr {name}: " if ehr is not None else ""
        try:
            return site_with(name, self.options_of(ehr), self.links)
        except ValueError as error:
            raise SettingsError(f"{where}{error}") from None

    def check_ehrs(self) -> None:
        """Refuse EHRs that contradict each other or name what does not exist. Raises SettingsError."""
        try:
            check_together(self.all_ehrs)
        except ValueError as error:
            raise SettingsError(f"ehr: {error}") from None
        for name in sorted(OF_ONE_EHR, reverse=True):
            if self.all_ehrs and getattr(self, name):
                raise SettingsError(
                    f"{name}: it belongs to one EHR; write it into its [[ehr]] table, for no other may be read or written by mistake"
                )
        if self.auth == "off" and len(self.all_ehrs) > 1:
            raise SettingsError(
                f"auth: off serves one site, and {len(self.all_ehrs)} EHRs are configured; set auth = required"
            )
        check_policies([self.site_of(ehr) for ehr in self.all_ehrs])

    def check_listening(self, host: str) -> None:
        """Refuse to be open to a network without authentication. Raises SettingsError."""
        self.check_ehrs()
        self.check_watched()
        if self.auth == "required":
            if host not in LOOPBACK and is_loopback(self.base_url):
                raise SettingsError(
                    "base_url: give the public address that EHRs call, such as https://cds.hospital.example; "
                    "it is the audience of their tokens"
                )
            try:
                https_url(self.base_url, "https://cds.hospital.example")
            except ValueError as error:
                raise SettingsError(f"base_url: {error}") from None
            return
        if host not in LOOPBACK:
            raise SettingsError(
                f"auth: off is for loopback only, and the service was told to listen on {host}; "
                "listen on 127.0.0.1, or set auth = required"
            )


def check_policies(sites: Sequence[Site]) -> None:
    """Refuse two policies with one id: the page a card links to would be the wrong one. Raises SettingsError."""
    known: dict[str, Policy] = {}
    for site in sites:
        if known.setdefault(site.policy.id, site.policy) != site.policy:
            raise SettingsError(
                f"ehr {site.name}: policy: another EHR has a different policy with the id {site.policy.id!r}"
            )
