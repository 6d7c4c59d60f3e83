"""The options of a site. Each stands here once, with its default; settings, EHRs, hooks, registry, back-test and Python face take them whole.

The general settings are such options, and so is every ``[[ehr]]`` table; :func:`inherited` makes one of both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service.alerts.facts.practice import Practice
from service.options.forms import (
    absolute_uri,
    by_system_and_code,
    https_url,
    known_hooks,
    known_keys,
    known_schedule,
    known_searches,
    public_url,
)

Profile = Literal["generic", "epic", "oracle", "athena", "sandbox"]
#: How a call that could not be judged, and hints at clozapine, is answered: with a card that says so, or with the error status.
Errors = Literal["card", "status"]
#: Resources that may be written into an EHR for an alert.
WriteBack = Literal["Task", "Flag", "CommunicationRequest", "DetectedIssue"]


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


#: Ids of the code systems, and of the value sets of the same codes, that the service answers with.
FINDINGS = "clozapine-finding"
OVERRIDE_REASONS = "clozapine-override-reason"
ANSWERS = "clozapine-check-answer"


class Links(BaseModel):
    """How the service names itself on cards; the same for all its sites."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Public base URL: in links on cards and, with authentication, the audience of client JWTs.
    base_url: str = "http://127.0.0.1:8000"
    #: System of the finding codes: by default the address at which this service itself answers with the code system.
    finding_system: str = Field(
        default_factory=lambda given: f"{given.get('base_url', '')}/fhir/CodeSystem/{FINDINGS}"
    )

    @property
    def fhir_url(self) -> str:
        """The FHIR base address: canonical addresses of what this service defines begin with it."""
        return f"{self.base_url}/fhir"

    @property
    def reason_system(self) -> str:
        """System of the override reasons that HL7 has no code for."""
        return f"{self.fhir_url}/CodeSystem/{OVERRIDE_REASONS}"

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return public_url(value)

    @field_validator("finding_system")
    @classmethod
    def _absolute_system(cls, value: str) -> str:
        return absolute_uri(value)


class AnswerOptions(Practice):
    """Options that bear on an answer; the Python face takes them, too."""

    #: IANA name; it decides which day a moment belongs to.
    time_zone: str = "UTC"
    #: Local codes: "system|code" = id of a result kind or of a drug.
    codes: dict[str, str] = Field(default={})
    #: Units of laboratories that send none: "system|code" = unit.
    units: dict[str, str] = Field(default={})
    #: Where the site is (two letters of ISO 3166): a brand that means another drug elsewhere is read as there.
    country: str = Field(default="", pattern="^([A-Z]{2})?$")
    card_limit: int = Field(default=10, ge=1, le=10)
    #: What the client can show and apply.
    profile: Profile = "generic"

    @field_validator("not_sent")
    @classmethod
    def _known_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_keys(value)

    @field_validator("codes", "units")
    @classmethod
    def _keyed(cls, value: dict[str, str]) -> dict[str, str]:
        by_system_and_code(value)
        return value


#: What an EHR tells of: results, and orders and administrations, of which most are no clozapine and cost nothing.
SEARCHES = ("Observation?category=laboratory", "MedicationRequest?", "MedicationAdministration?")


class SiteOptions(AnswerOptions):
    """Everything that one site can choose."""

    #: id of a shipped policy, or a path to a TOML file that inherits from one.
    policy: str = "us-label-2025"
    #: Hooks that are switched on; None: all.
    hooks: tuple[str, ...] | None = None
    #: A call that could not be judged and hints at clozapine: ``card`` answers 200 with a card that says so, ``status`` the error status.
    #: Default: ``status`` for the profile ``sandbox``, ``card`` for all others.
    errors: Errors | None = None
    #: Evaluate and record, show nothing and tell nobody.
    shadow: bool = False
    #: The same for single findings: their codes.
    shadow_codes: tuple[str, ...] = ()
    #: An override with a reason silences the same finding for so long; 0 = never.
    snooze_days: int = Field(default=7, ge=0, le=365)
    #: Default 100 with authentication, not limited without.
    calls_per_second: float | None = Field(default=None, gt=0, le=100_000)
    #: FHIR servers that may be read; nothing is ever sent to any other address.
    fhir_servers: tuple[str, ...] = ()
    fhir_deadline_ms: int = Field(default=400, ge=10, le=30_000)
    #: Remember patients on clozapine that calls show (the registry).
    enrol: bool = True
    #: When registered patients are swept: five cron fields in the site's time zone; empty = never.
    sweep: str = "30 5 * * *"
    #: An open alert is brought up again after so many days.
    due_again_days: int = Field(default=7, ge=1, le=365)
    #: What is written into the EHR for an alert of the sweep; empty = nothing.
    write_back: tuple[WriteBack, ...] = ()
    #: Address that is told of every change of an alert, and the key its body is signed with (HMAC-SHA-256).
    webhook: str = ""
    webhook_secret: SecretStr = SecretStr("")
    #: FHIR Subscriptions that the service keeps at the EHR: of R4, of a topic (Backport guide), or none.
    subscriptions: Literal["off", "r4", "topic"] = "off"
    #: r4: what is told of, a search each. A filter by LOINC alone would lose laboratories with codes of their own.
    subscription_criteria: tuple[str, ...] = SEARCHES
    #: topic: its canonical address.
    subscription_topic: str = ""
    #: Whether resources are sent along, or only their ids.
    subscription_payload: Literal["id-only", "full-resource"] = "full-resource"
    #: SMART Backend Services: how the scheduler reads and writes at the first of fhir_servers.
    backend: BackendClient | None = None

    @field_validator("hooks")
    @classmethod
    def _known_hooks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return known_hooks(value)

    @field_validator("sweep")
    @classmethod
    def _cron(cls, value: str) -> str:
        return known_schedule(value)

    @field_validator("subscription_criteria")
    @classmethod
    def _searches(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_searches(value)

    @field_validator("webhook")
    @classmethod
    def _secure_webhook(cls, value: str) -> str:
        return https_url(value, "https://events.hospital.example/clozapine") if value else ""


#: Addresses and identities of one EHR's own systems: another EHR's would be read, or written into, by mistake.
OF_ONE_EHR = frozenset({"fhir_servers", "backend"})


def inherited(general: SiteOptions, own: SiteOptions | None) -> SiteOptions:
    """The options of one EHR: what it says wins, what it does not say is as the general settings have it.

    Args:
        general: the defaults of every EHR.
        own: what the EHR says (``model_fields_set``); None for the one site of a service without EHRs.
    """
    said = own.model_fields_set | OF_ONE_EHR if own is not None else frozenset()
    values = {name: getattr(own if name in said else general, name) for name in SiteOptions.model_fields}
    return SiteOptions.model_construct(**values)


def check_told(options: SiteOptions) -> None:
    """Refuse what would fail only when somebody is to be told of an alert. Raises ValueError."""
    if options.write_back and not options.fhir_servers:
        raise ValueError("write_back: it needs fhir_servers, which names where to write")
    if options.subscriptions != "off" and (not options.fhir_servers or options.backend is None):
        raise ValueError(
            "subscriptions: it needs fhir_servers and backend, with which Subscriptions are made and read"
        )
    if options.subscriptions == "topic" and not options.subscription_topic:
        raise ValueError(
            "subscription_topic: name the topic's canonical address; the EHR's documentation has it"
        )
    if options.webhook and not options.webhook_secret.get_secret_value():
        raise ValueError("webhook_secret: a webhook must be signed; set the key")
