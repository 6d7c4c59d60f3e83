"""Settings: environment ``CLOZAPINE_CDS_*`` over the TOML file named by ``CLOZAPINE_CDS_CONFIG`` (contract "Configuration")."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service.alerts.knowledge.codes import dimensions, kinds
from service.alerts.knowledge.drugs import drug_ids
from service.alerts.policy.check import find_policy
from service.alerts.policy.policy import Policy, PolicyError
from service.alerts.say.finding_codes import check_finding_codes
from service.fhir.snapshot import SiteMaps
from service.fhir.units import conversion
from service.hooks.site import Errors, Profile, Site
from service.ops.outbound import IPNetwork, address_of, is_loopback
from service.registry.watch import Watch
from service.site.ehrs import (
    BackendClient,
    Channel,
    EhrSettings,
    check_together,
    https_url,
    known_keys,
    known_schedule,
    sentence,
)

PREFIX = "CLOZAPINE_CDS_"
#: The open-source sandbox client publishes its private key.
_SANDBOX = "sandbox.cds-hooks.org"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


_ABSOLUTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")
_ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s]+$")
#: How pydantic-settings says that a value of the environment is not JSON.
_NOT_JSON = re.compile(r'^error parsing value for field "(\w+)"')


class SettingsError(ValueError):
    """A setting that stops the start; the message names it."""


#: Options of a site: the general settings are the defaults of every EHR.
_OF_A_SITE = frozenset(EhrSettings.model_fields) & {
    "policy", "time_zone", "fhir_deadline_ms", "profile", "errors", "card_limit", "shadow", "shadow_codes", "smoke_free_wards", "codes", "units", "country",
    "enrol", "snooze_days", "pathway", "not_sent", "calls_per_second", "sweep", "due_again_days", "write_back", "webhook", "webhook_secret",
}  # fmt: skip
#: Addresses and identities of one EHR's own systems: another EHR's would be read, or written into, by mistake.
_OF_ONE_EHR = ("fhir_servers", "backend")


class Watched(Struct, frozen=True):
    """A site's watch with what the scheduler needs besides. Its text form shows no secret."""

    watch: Watch
    #: Five cron fields; empty = never.
    sweep: str
    webhook_secret: str
    backend: BackendClient | None

    def __repr__(self) -> str:
        return f"Watched({self.watch.site!r})"


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
    #: May hold a password: never shown; see :func:`load_settings` for CLOZAPINE_CDS_DATABASE_URL_FILE.
    database_url: str = Field(default="sqlite:///var/clozapine-cds.db", repr=False)
    #: Public base URL: in links on cards and, with authentication, the audience of client JWTs.
    base_url: str = "http://127.0.0.1:8000"
    auth: Literal["off", "required"] = "off"
    site_name: str = Field(default="default", min_length=1, max_length=100)
    time_zone: str = "UTC"
    #: FHIR servers that may be read; nothing is ever sent to any other address.
    fhir_servers: tuple[str, ...] = ()
    fhir_deadline_ms: int = Field(default=400, ge=10, le=30_000)
    profile: Profile = "generic"
    #: A call that could not be judged and hints at clozapine: ``card`` answers 200 with a card that says so, ``status`` the error status.
    #: Default: ``status`` for the profile ``sandbox``, ``card`` for all others.
    errors: Errors | None = None
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
    #: Per EHR; default 100 with authentication, not limited without.
    calls_per_second: float | None = Field(default=None, gt=0, le=100_000)
    #: Calls answered at once by one process; one more gets 503.
    max_concurrent_calls: int = Field(default=200, ge=1, le=10_000)
    call_seconds: float = Field(default=10.0, gt=0, le=60)
    max_body_bytes: int = Field(default=5_000_000, ge=10_000, le=100_000_000)
    card_limit: int = Field(default=10, ge=1, le=10)
    shadow: bool = False
    #: The same for single findings: their codes.
    shadow_codes: tuple[str, ...] = ()
    #: Wards are smoke-free: an admission of a smoker counts as a stop of smoking.
    smoke_free_wards: bool = False
    #: Where the site is (two letters of ISO 3166): a brand that means another drug elsewhere is read as there.
    country: str = Field(default="", pattern="^([A-Z]{2})?$")
    #: Days for which calls, cards and feedback are kept; 0 = for good.
    retention_days: int = Field(default=0, ge=0, le=36_500)
    #: FHIR terminology server asked about medication codes that nothing recognises, and how long a call waits for it.
    terminology_server: str = ""
    terminology_deadline_ms: int = Field(default=150, ge=10, le=5000)
    #: Information on treatment resistance when a chart is opened.
    pathway: bool = False
    #: Prefetch keys that the site does not have, such as statements: not asked for, and no card says that they are missing.
    not_sent: tuple[str, ...] = ()
    #: Remember patients on clozapine that calls show (the registry).
    enrol: bool = True
    #: An override with a reason silences the same finding for so long; 0 = never.
    snooze_days: int = Field(default=7, ge=0, le=365)
    #: When registered patients are swept: five cron fields in the site's time zone; empty = never.
    sweep: str = "30 5 * * *"
    #: An open alert is brought up again after so many days.
    due_again_days: int = Field(default=7, ge=1, le=365)
    #: What is written into the EHR for an alert of the sweep; empty = nothing.
    write_back: tuple[Channel, ...] = ()
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
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as America/New_York") from error
        return value

    @field_validator("sweep")
    @classmethod
    def _cron(cls, value: str) -> str:
        return known_schedule(value)

    @field_validator("terminology_server")
    @classmethod
    def _secure_terminology(cls, value: str) -> str:
        return https_url(value, "https://terminology.hospital.example/fhir") if value else ""

    @field_validator("webhook")
    @classmethod
    def _secure_webhook(cls, value: str) -> str:
        return https_url(value, "https://events.hospital.example/clozapine") if value else ""

    @field_validator("not_sent")
    @classmethod
    def _known_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_keys(value)

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

    @field_validator("finding_system")
    @classmethod
    def _absolute_system(cls, value: str) -> str:
        if not _ABSOLUTE.match(value):
            raise ValueError("an absolute URI is expected, such as https://cds.hospital.example/findings")
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
            self.watched(ehr)
        for ehr in self.all_ehrs:
            try:
                check_codes(ehr.codes)
                check_units(ehr.units)
            except ValueError as error:
                raise SettingsError(f"ehr {ehr.name}: codes or units: {error}") from None

    def load_policy(self) -> Policy:
        """The configured policy. Raises SettingsError."""
        try:
            return find_policy(self.policy)
        except PolicyError as error:
            raise SettingsError(f"policy: {error}") from error

    @property
    def all_ehrs(self) -> tuple[EhrSettings, ...]:
        """The EHRs of the configuration."""
        return (*self.ehr, *self.ehrs)

    def site(self) -> Site:
        """The one site of a service without authentication: the only EHR configured, or the general settings. Raises SettingsError."""
        if len(self.all_ehrs) == 1:
            return self.site_of(self.all_ehrs[0])
        return self._resolved(self.site_name, None)

    def of_ehr(self, ehr: EhrSettings) -> Settings:
        """The options of one EHR: what it says wins, what it does not say is as the general settings have it."""
        said = {name: getattr(ehr, name) for name in _OF_A_SITE if name in ehr.model_fields_set}
        said = {name: value for name, value in said.items() if value is not None}
        own = {name: getattr(ehr, name) for name in _OF_ONE_EHR}
        return self.model_copy(update={**said, **own})

    def _resolved(self, name: str, hooks: tuple[str, ...] | None) -> Site:
        return Site(
            name=name,
            policy=self.load_policy(),
            zone=ZoneInfo(self.time_zone),
            base_url=self.base_url,
            finding_system=self.finding_system,
            fhir_servers=self.fhir_servers,
            fhir_deadline_seconds=self.fhir_deadline_ms / 1000,
            profile=self.profile,
            errors=self.errors,
            card_limit=self.card_limit,
            shadow=self.shadow,
            shadow_codes=frozenset(self.shadow_codes),
            smoke_free_wards=self.smoke_free_wards,
            enrol=self.enrol,
            snooze_days=self.snooze_days,
            pathway=self.pathway,
            not_sent=self.not_sent,
            maps=SiteMaps(codes=_split(self.codes), units=_split(self.units), country=self.country),
            hooks=frozenset(hooks) if hooks is not None else None,
            calls_per_second=self._rate,
        )

    def watched(self, ehr: EhrSettings | None = None) -> Watched:
        """How a site's patients are watched between visits: an EHR's, or with authentication off the general settings'. Raises SettingsError."""
        if ehr is None and len(self.all_ehrs) == 1:
            ehr = self.all_ehrs[0]
        site = self.site_of(ehr) if ehr is not None else self.site()
        given = self.of_ehr(ehr) if ehr is not None else self
        where = f"ehr {ehr.name}: " if ehr is not None else ""
        if given.write_back and not given.fhir_servers:
            raise SettingsError(f"{where}write_back: it needs fhir_servers, which names where to write")
        secret = given.webhook_secret.get_secret_value()
        if given.webhook and not secret:
            raise SettingsError(f"{where}webhook_secret: a webhook must be signed; set the key")
        watch = Watch(
            site=site.name,
            policy=site.policy,
            zone=site.zone,
            shadow=site.shadow,
            shadow_codes=site.shadow_codes,
            due_again_after=timedelta(days=given.due_again_days),
            write_back=given.write_back,
            fhir_server=given.fhir_servers[0] if given.fhir_servers else "",
            webhook=given.webhook,
            bulk=given.backend is not None and given.backend.bulk,
            maps=site.maps,
            smoke_free_wards=site.smoke_free_wards,
            pathway=site.pathway,
        )
        return Watched(watch, given.sweep, secret, given.backend)

    @property
    def _rate(self) -> float | None:
        return self.calls_per_second or (100.0 if self.auth == "required" else None)

    def site_of(self, ehr: EhrSettings) -> Site:
        """An EHR with everything resolved. Raises SettingsError naming EHR and setting."""
        if not is_loopback(self.base_url) and _SANDBOX in (
            address_of(ehr.issuer)[0],
            address_of(ehr.jwks_uri)[0],
        ):
            raise SettingsError(
                f"ehr {ehr.name}: issuer: everybody has the private key of {_SANDBOX}; it is trusted on loopback only"
            )
        own = self.of_ehr(ehr)
        try:
            self._known_zone(own.time_zone)
            return own._resolved(ehr.name, ehr.hooks)
        except ValueError as error:
            raise SettingsError(f"ehr {ehr.name}: {error}") from None

    def check_ehrs(self) -> None:
        """Refuse EHRs that contradict each other or name what does not exist. Raises SettingsError."""
        try:
            check_together(self.all_ehrs)
        except ValueError as error:
            raise SettingsError(f"ehr: {error}") from None
        for name in _OF_ONE_EHR:
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


def check_codes(codes: Mapping[str, str]) -> None:
    """Local codes must stand for something. Raises ValueError."""
    known = {*kinds(), *drug_ids()}
    for key, target in codes.items():
        if target not in known:
            near = difflib.get_close_matches(target, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{key!r}: {target!r} is neither a result kind nor a drug this service knows{hint}"
            )


def check_units(units: Mapping[str, str]) -> None:
    """Units of results sent without one must be understood: else the results would go unread. Raises ValueError."""
    for key, unit in units.items():
        if all(conversion(dimension, unit) is None for dimension in dimensions()):
            raise ValueError(f"{key!r}: {unit!r} is not a unit this service reads, such as 10*3/uL or ng/mL")


def check_policies(sites: Sequence[Site]) -> None:
    """Refuse two policies with one id: the page a card links to would be the wrong one. Raises SettingsError."""
    known: dict[str, Policy] = {}
    for site in sites:
        if known.setdefault(site.policy.id, site.policy) != site.policy:
            raise SettingsError(
                f"ehr {site.name}: policy: another EHR has a different policy with the id {site.policy.id!r}"
            )


def _split(keyed: dict[str, str]) -> dict[tuple[str, str], str]:
    pairs = ((key.rpartition("|"), value) for key, value in keyed.items())
    return {(system, code): value for (system, _, code), value in pairs}


def _from_file(variable: str) -> Any:
    """The value in the file that an environment variable names. Raises SettingsError."""
    if variable.removesuffix("_FILE") in os.environ:
        raise SettingsError(f"{variable}: {variable.removesuffix('_FILE')} is set as well; give one of them")
    path = Path(os.environ[variable])
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise SettingsError(f"{variable}: {path} does not hold JSON") from None


def _refused(error: ValidationError) -> SettingsError:
    """The first thing that is wrong, as a sentence that names the setting."""
    first = error.errors(include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        near = difflib.get_close_matches(name, Settings.model_fields, 1)
        return SettingsError(
            f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
        )
    return SettingsError(sentence(error))


class _Given(Settings):
    """Settings that are handed over: neither the environment nor a file has a say in them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def site_with(**options: Any) -> Site:
    """The site that has these settings and else the defaults, whatever the environment says. Raises SettingsError naming the setting at fault."""
    try:
        return _Given(**options).site()
    except ValidationError as error:
        raise _refused(error) from None


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and the configuration file. Raises SettingsError naming the setting at fault.

    ``CLOZAPINE_CDS_X_FILE`` names a file that holds the value of ``X``, as secrets are mounted in containers.
    """
    path = os.environ.get(f"{PREFIX}CONFIG")
    if path and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}CONFIG: there is no file {path}")
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    files = {
        f"{name}_FILE": name.removeprefix(PREFIX).lower() for name in known if not name.endswith("CONFIG")
    }
    for variable in os.environ:
        if variable in files and variable not in known:
            overrides.setdefault(files[variable], _from_file(variable))
        elif variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: there is no such setting{hint}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise _refused(error) from None
    except ValueError as error:
        not_json = _NOT_JSON.match(str(error))
        if not_json:
            name = not_json.group(1)
            raise SettingsError(
                f'{PREFIX}{name.upper()}: JSON is expected here, a list such as ["a", "b"] or an object'
            ) from None
        raise SettingsError(f"configuration file: {error}") from None
