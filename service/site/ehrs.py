"""The EHRs that may call: ``[[ehr]]`` tables of the configuration file, ``CLOZAPINE_CDS_EHRS``, or rows of the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from cds_hooks import HOOKS
from cds_hooks.keys import KeySetError, has_private_part, read_key_set
from service.fhir.queries import QUERIES
from service.hooks.site import Errors, Profile
from service.ops.outbound import is_loopback

Algorithm = Literal["ES384", "RS384", "ES256", "RS256"]
Channel = Literal["Task", "Flag", "CommunicationRequest", "DetectedIssue"]

#: Prefetch keys that no site may declare missing.
NEEDED = frozenset({"counts", "medications"})
_PUBLIC_MEMBERS = ("kid", "kty", "crv", "x", "y", "n", "e", "use", "alg", "key_ops")


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
    #: Read the whole site with ``Patient/$export`` where the server has it.
    bulk: bool = False

    @field_validator("token_url")
    @classmethod
    def _secure(cls, value: str) -> str:
        return https_url(value, "https://ehr.hospital.example/oauth2/token")

    @field_validator("key_file")
    @classmethod
    def _readable(cls, value: Path) -> Path:
        if not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value


class EhrSettings(BaseModel):
    """One EHR. What its table does not give is taken from the general settings; its addresses and identities are its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    #: ``iss`` of its tokens.
    issuer: str = Field(min_length=1, max_length=500)
    #: ``tenant`` of its tokens, where several sites share an issuer.
    tenant: str = Field(default="", max_length=200)
    #: Exactly one of these three says where the public keys are.
    jwks_uri: str = ""
    jwks_file: str = ""
    keys: tuple[dict[str, Any], ...] = ()
    #: Values of ``jku`` accepted besides ``jwks_uri``. They are compared, never fetched.
    jku: tuple[str, ...] = ()
    #: Audiences accepted besides the endpoint's own URL, for clients whose administrators type one in.
    audience: tuple[str, ...] = ()
    algorithms: tuple[Algorithm, ...] = Field(default=("ES384", "RS384"), min_length=1)
    #: Longest life of a token, seconds.
    token_seconds: int = Field(default=300, ge=10, le=900)
    fhir_servers: tuple[str, ...] = ()
    fhir_deadline_ms: int | None = Field(default=None, ge=10, le=30_000)
    policy: str | None = None
    time_zone: str | None = None
    enrol: bool = True
    shadow: bool = False
    shadow_codes: tuple[str, ...] = ()
    snooze_days: int = Field(default=7, ge=0, le=365)
    profile: Profile = "generic"
    #: How calls that could not be judged are answered; by default as the general settings say, else as the profile has it.
    errors: Errors | None = None
    hooks: tuple[str, ...] | None = None
    codes: dict[str, str] = {}
    units: dict[str, str] = {}
    card_limit: int = Field(default=10, ge=1, le=10)
    smoke_free_wards: bool = False
    #: Where it is (two letters of ISO 3166).
    country: str = Field(default="", pattern="^([A-Z]{2})?$")
    pathway: bool = False
    #: Prefetch keys that it does not have; None: those of the general settings.
    not_sent: tuple[str, ...] | None = None
    #: When its patients are swept (five cron fields in its time zone; empty = never), and what becomes of the alerts.
    sweep: str | None = None
    due_again_days: int | None = Field(default=None, ge=1, le=365)
    write_back: tuple[Channel, ...] = ()
    webhook: str = ""
    webhook_secret: SecretStr = SecretStr("")
    backend: BackendClient | None = None
    calls_per_second: float | None = Field(default=None, gt=0, le=100_000)

    @field_validator("sweep")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return known_schedule(value) if value is not None else None

    @field_validator("webhook")
    @classmethod
    def _secure_webhook(cls, value: str) -> str:
        return https_url(value, "https://events.hospital.example/clozapine") if value else ""

    @field_validator("jwks_uri")
    @classmethod
    def _secure_keys(cls, value: str) -> str:
        return https_url(value, "https://ehr.hospital.example/jwks") if value else ""

    @field_validator("fhir_servers")
    @classmethod
    def _secure_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(https_url(url, "https://ehr.hospital.example/fhir") for url in value)

    @field_validator("keys")
    @classmethod
    def _public_keys(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if any(has_private_part(key) for key in value):
            raise ValueError("it holds a private key; give the public key alone, and replace the pair")
        if value:
            try:
                found = read_key_set(orjson.dumps({"keys": value}))
            except KeySetError as error:
                raise ValueError(str(error)) from None
            if found.left_out:
                raise ValueError("; ".join(found.left_out))
        return value

    @field_validator("jwks_file")
    @classmethod
    def _readable_keys(cls, value: str) -> str:
        if value:
            try:
                found = read_key_set(Path(value).read_bytes())
            except OSError as error:
                raise ValueError(f"{value} cannot be read: {error.strerror}") from None
            except KeySetError as error:
                raise ValueError(f"{value} cannot be used: {error}") from None
            if not found.keys:
                raise ValueError(f"{value} holds no usable key: {'; '.join(found.left_out) or 'it is empty'}")
        return value

    @field_validator("hooks")
    @classmethod
    def _known_hooks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for hook in value or ():
            if hook not in HOOKS:
                raise ValueError(f"{hook!r} is not one of {', '.join(HOOKS)}")
        return value

    @field_validator("not_sent")
    @classmethod
    def _known_keys(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return known_keys(value) if value is not None else None

    @field_validator("codes", "units")
    @classmethod
    def _keyed(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if "|" not in key:
                raise ValueError(f'the key {key!r} must be "system|code"')
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> EhrSettings:
        given = [name for name in ("jwks_uri", "jwks_file", "keys") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of jwks_uri, jwks_file and keys; found {found}")
        return self

    def stored(self) -> dict[str, Any]:
        """As it is kept in the database: a key file is read now, because other replicas do not have it."""
        content = self.model_dump(mode="json", exclude_unset=True)
        if self.jwks_file:
            del content["jwks_file"]
            entries = orjson.loads(Path(self.jwks_file).read_bytes())["keys"]
            usable = [e for e in entries if read_key_set(orjson.dumps({"keys": [e]})).keys]
            content["keys"] = [{m: v for m, v in e.items() if m in _PUBLIC_MEMBERS} for e in usable]
        return content


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


def check_together(ehrs: Sequence[EhrSettings]) -> None:
    """Refuse EHRs that could be mistaken for each other. Raises ValueError."""
    names: set[str] = set()
    tenants: dict[str, set[str]] = {}
    for ehr in ehrs:
        if ehr.name in names:
            raise ValueError(f"two EHRs are named {ehr.name!r}")
        names.add(ehr.name)
        known = tenants.setdefault(ehr.issuer, set())
        if ehr.tenant in known:
            what = f" and the tenant {ehr.tenant!r}" if ehr.tenant else ""
            raise ValueError(
                f"{ehr.name!r} has the issuer{what} of another EHR; calls could not be told apart"
            )
        known.add(ehr.tenant)
        if "" in known and len(known) > 1:
            raise ValueError(
                f"{ehr.name!r} shares its issuer with another EHR: give every one of them a tenant"
            )
