"""Settings: environment ``CLOZAPINE_CDS_*`` over the TOML file named by ``CLOZAPINE_CDS_CONFIG`` (contract "Configuration")."""

from __future__ import annotations

import difflib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.alerts.codes import kinds
from service.alerts.drugs import drug_ids
from service.alerts.policy import Policy, PolicyError, load_policy, policy_by_id, policy_ids
from service.fhir.snapshot import SiteMaps
from service.hooks.site import Profile, Site
from service.registry.watch import Watch

PREFIX = "CLOZAPINE_CDS_"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingsError(ValueError):
    """A setting that stops the start; the message names it."""


class BackendClient(BaseModel):
    """This service as a client of the EHR (SMART Backend Services, private_key_jwt)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = Field(min_length=1)
    token_url: str
    #: PEM file of the private key.
    key_file: Path
    key_id: str = Field(min_length=1)
    algorithm: Literal["RS384", "ES384"] = "ES384"
    scope: str = "system/*.read"

    @field_validator("key_file")
    @classmethod
    def _readable(cls, value: Path) -> Path:
        if not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value


class RegistryClient(BaseModel):
    """Somebody who may use the registry: a bearer token, kept as its SHA-256, with sites and a role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    #: ``printf %s TOKEN | sha256sum``
    token_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    #: Sites whose patients are visible; empty = all.
    sites: tuple[str, ...] = ()
    #: ``viewer`` reads, ``clinician`` also flags and closes, ``admin`` also merges, takes off and deletes.
    role: Literal["viewer", "clinician", "admin"] = "viewer"


class Settings(BaseSettings):
    """Everything that can be configured. A wrong value stops the start with a sentence that names the setting."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True)

    #: id of a shipped policy, or a path to a TOML file that inherits from one.
    policy: str = "us-label-2025"
    database_url: str = "sqlite:///var/clozapine-cds.db"
    #: Public base URL: in links on cards and, with authentication, the audience of client JWTs.
    base_url: str = "http://127.0.0.1:8000"
    auth: Literal["off", "required"] = "off"
    site_name: str = Field(default="default", min_length=1, max_length=100)
    time_zone: str = "UTC"
    #: FHIR servers that may be read; nothing is ever sent to any other address.
    fhir_servers: tuple[str, ...] = ()
    fhir_deadline_ms: int = Field(default=400, ge=10, le=30_000)
    profile: Profile = "generic"
    #: Origins of browser clients; ``*`` allows all. Default: all while authentication is off, none otherwise.
    allowed_origins: tuple[str, ...] | None = None
    max_body_bytes: int = Field(default=5_000_000, ge=10_000, le=100_000_000)
    card_limit: int = Field(default=10, ge=1, le=10)
    shadow: bool = False
    #: Wards are smoke-free: an admission of a smoker counts as a stop of smoking.
    smoke_free_wards: bool = False
    #: Remember patients on clozapine that calls show (the registry).
    enrol: bool = True
    #: An override with a reason silences the same finding for so long; 0 = never.
    snooze_days: int = Field(default=7, ge=0, le=365)
    #: When registered patients are swept: five cron fields in the site's time zone; empty = never.
    sweep: str = "30 5 * * *"
    #: An open alert is brought up again after so many days.
    due_again_days: int = Field(default=7, ge=1, le=365)
    #: What is written into the EHR for an alert of the sweep; empty = nothing.
    write_back: tuple[Literal["Task", "Flag", "CommunicationRequest", "DetectedIssue"], ...] = ()
    #: Address that is told of every change of an alert, and the key its body is signed with (HMAC-SHA-256).
    webhook: str = ""
    webhook_secret: SecretStr = SecretStr("")
    #: SMART Backend Services: how the scheduler reads and writes at the first of fhir_servers.
    backend: BackendClient | None = None
    #: Who may use the registry's routes. Empty: nobody, or, while authentication is off, everybody on loopback.
    clients: tuple[RegistryClient, ...] = ()
    finding_system: str = "https://clozapine-cds.example/CodeSystem/finding"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_style: Literal["json", "console"] = "json"
    #: Local codes: "system|code" = id of a result kind or of a drug.
    codes: dict[str, str] = {}
    #: Units of laboratories that send none: "system|code" = unit.
    units: dict[str, str] = {}

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an absolute URL is expected, such as https://cds.hospital.example")
        return value.rstrip("/")

    @field_validator("fhir_servers")
    @classmethod
    def _absolute_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not an absolute URL")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as America/New_York") from error
        return value

    @field_validator("sweep")
    @classmethod
    def _cron(cls, value: str) -> str:
        if value:
            try:
                CronTrigger.from_crontab(value)
            except ValueError as error:
                raise ValueError(
                    f"{value!r} is not a schedule of five cron fields such as '30 5 * * *' ({error})"
                ) from error
        return value

    @field_validator("codes", "units")
    @classmethod
    def _keyed(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if "|" not in key:
                raise ValueError(f'the key {key!r} must be "system|code"')
        return value

    @field_validator("codes")
    @classmethod
    def _known_targets(cls, value: dict[str, str]) -> dict[str, str]:
        known = {*kinds(), *drug_ids()}
        for key, target in value.items():
            if target not in known:
                near = difflib.get_close_matches(target, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"{key!r}: {target!r} is neither a result kind nor a drug this service knows{hint}"
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

    def load_policy(self) -> Policy:
        """The configured policy. Raises SettingsError."""
        try:
            if self.policy in policy_ids():
                return policy_by_id(self.policy)
            if self.policy.endswith(".toml"):
                return load_policy(Path(self.policy))
        except PolicyError as error:
            raise SettingsError(f"policy: {error}") from error
        raise SettingsError(
            f"policy: {self.policy!r} is neither a shipped policy ({', '.join(policy_ids())}) nor a .toml file"
        )

    def site(self) -> Site:
        """The site these settings describe. Raises SettingsError."""
        return Site(
            name=self.site_name,
            policy=self.load_policy(),
            zone=ZoneInfo(self.time_zone),
            base_url=self.base_url,
            finding_system=self.finding_system,
            fhir_servers=self.fhir_servers,
            fhir_deadline_seconds=self.fhir_deadline_ms / 1000,
            profile=self.profile,
            card_limit=self.card_limit,
            shadow=self.shadow,
            smoke_free_wards=self.smoke_free_wards,
            enrol=self.enrol,
            snooze_days=self.snooze_days,
            maps=SiteMaps(codes=_split(self.codes), units=_split(self.units)),
        )

    def watch(self) -> Watch:
        """How the site's patients are watched between visits. Raises SettingsError."""
        if self.write_back and not self.fhir_servers:
            raise SettingsError("write_back: it needs fhir_servers, which names where to write")
        if self.webhook and not self.webhook_secret.get_secret_value():
            raise SettingsError("webhook_secret: a webhook must be signed; set the key")
        return Watch(
            site=self.site_name,
            policy=self.load_policy(),
            zone=ZoneInfo(self.time_zone),
            shadow=self.shadow,
            due_again_after=timedelta(days=self.due_again_days),
            write_back=self.write_back,
            fhir_server=self.fhir_servers[0] if self.fhir_servers else "",
            webhook=self.webhook,
        )

    def check_listening(self, host: str) -> None:
        """Refuse to be open to a network. Raises SettingsError."""
        if self.auth == "required":
            raise SettingsError(
                "auth: client authentication is not part of this version; run it with auth = off on loopback, "
                "behind a proxy that authenticates the EHR"
            )
        if host not in LOOPBACK:
            raise SettingsError(
                f"auth: off is for loopback only, and the service was told to listen on {host}; listen on 127.0.0.1"
            )


def _split(keyed: dict[str, str]) -> dict[tuple[str, str], str]:
    pairs = ((key.rpartition("|"), value) for key, value in keyed.items())
    return {(system, code): value for (system, _, code), value in pairs}


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and the configuration file. Raises SettingsError naming the setting at fault."""
    path = os.environ.get(f"{PREFIX}CONFIG")
    if path and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}CONFIG: there is no file {path}")
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: there is no such setting{hint}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "configuration"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, Settings.model_fields, 1)
            raise SettingsError(
                f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
            ) from None
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise SettingsError(f"configuration file: {error}") from None
