"""The EHRs that may call: ``[[ehr]]`` tables of the configuration file, ``CLOZAPINE_CDS_EHRS``, or rows of the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import ConfigDict, Field, field_validator, model_validator

from cds_hooks.keys import KeySetError, has_private_part, read_key_set
from service.options.forms import https_url
from service.options.options import SiteOptions
from service.site.secrets import SECRET_OPTIONS, SecretError, Secrets

Algorithm = Literal["ES384", "RS384", "ES256", "RS256"]
_PUBLIC_MEMBERS = ("kid", "kty", "crv", "x", "y", "n", "e", "use", "alg", "key_ops")


class EhrSettings(SiteOptions):
    """One EHR: who calls, and its options (``service.options``). What its table does not give is taken from the general settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    #: False: its calls are refused and its patients are not watched.
    enabled: bool = True
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

    @model_validator(mode="before")
    @classmethod
    def _unsaid(cls, given: Any) -> Any:
        """An option that is null is one of which nothing is said."""
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in SiteOptions.model_fields
        }

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

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> EhrSettings:
        given = [name for name in ("jwks_uri", "jwks_file", "keys") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of jwks_uri, jwks_file and keys; found {found}")
        return self

    def stored(self, secrets: Secrets) -> dict[str, Any]:
        """As it is kept in the database: a key file is read now, because other replicas do not have it; secrets are sealed.

        Raises SecretError naming the option.
        """
        content = self.model_dump(mode="json", exclude_unset=True)
        for name in SECRET_OPTIONS:
            if secret := getattr(self, name).get_secret_value():
                try:
                    content[name] = secrets.seal(secret)
                except SecretError as error:
                    raise SecretError(f"{name}: {error}") from None
        if self.jwks_file:
            del content["jwks_file"]
            entries = orjson.loads(Path(self.jwks_file).read_bytes())["keys"]
            usable = [e for e in entries if read_key_set(orjson.dumps({"keys": [e]})).keys]
            content["keys"] = [{m: v for m, v in e.items() if m in _PUBLIC_MEMBERS} for e in usable]
        return content


#: Vendors whose hospitals share an issuer: it is the tenant that tells them apart.
_SHARED_ISSUERS = ("cerner.com", "oracle.com", "oraclehealth.com", "athenahealth.com")
_SHARED_PROFILES = ("oracle", "athena")


def any_tenant(ehr: EhrSettings) -> str:
    """A warning where an EHR takes the calls of every tenant of an issuer that others may share; empty otherwise."""
    host = urlsplit(ehr.issuer).hostname or ""
    shared = ehr.profile in _SHARED_PROFILES or any(
        host == name or host.endswith(f".{name}") for name in _SHARED_ISSUERS
    )
    if ehr.tenant or not shared:
        return ""
    return f"the EHR {ehr.name} has no tenant: every hospital of the issuer {ehr.issuer} may call as it; set its tenant"


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
