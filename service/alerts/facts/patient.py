"""What the rules know about a patient: frozen, typed facts, each carrying where it came from.

A :class:`PatientSnapshot` is built by ``service.fhir.snapshot`` (or by a test, or from the registry) and is
all that the clinical core ever sees. Units are canonical (see each field), times are timezone-aware, and
*missing* is a value of its own: ``sources`` tells "looked and found none" from "could not look".
"""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import Literal

from msgspec import Struct

from service.alerts.facts.ledger import EMPTY, Ledger
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import NOTHING, RecordText

#: Where facts come from: the prefetch keys of the service, plus the orders in the hook's context.
SourceName = Literal[
    "patient",
    "medications",
    "statements",
    "dispenses",
    "administrations",
    "counts",
    "labs",
    "vitals",
    "conditions",
    "allergies",
    "smoking",
]
#: ``complete``: everything was read. ``incomplete``: a page or a resource is missing. ``unavailable``: could not be
#: read at all (absent without FHIR access, or the query failed).
SourceState = Literal["complete", "incomplete", "unavailable"]

ResultStatus = Literal["final", "corrected", "preliminary"]
MedicationRole = Literal["draft", "order", "statement", "dispense", "administration"]
MatchedBy = Literal["code", "name", "none"]

CLOZAPINE = "clozapine"
#: Hooks at which somebody writes, checks or renews an order.
ORDER_HOOKS = frozenset({"order-select", "order-sign", "medication-verify", "medication-refill"})


class Measurement(Struct, frozen=True, gc=False):
    """One usable laboratory or vital-sign value (clinical.md 3.1, 3.2).

    ``value`` is in the canonical unit of ``kind`` (``service/alerts/knowledge/codes.toml``): counts in cells/µL, percentages in %,
    drug levels in ng/mL, CRP in mg/L, temperature in °C. ``bound`` is ``"<"`` (value is an upper bound), ``">"``
    (a lower bound) or ``""``. ``at`` is None when the record gives no time; ``date_only`` says that only the day
    is known (``at`` is then the start of that day in the site's time zone).
    """

    kind: str
    value: float
    at: datetime | None
    ref: str
    raw: RecordText
    date_only: bool = False
    bound: Literal["", "<", ">"] = ""
    status: ResultStatus = "final"
    #: Upper limit of normal in the same unit, from the result's own reference range.
    upper_limit: float | None = None
    #: True when the service computed the value (ANC from WBC and percentages); ``raw`` then shows the sum.
    calculated: bool = False
    #: Key shared by results of one specimen, panel or report.
    specimen: str = ""
    #: Posture ("standing", "lying", ...), fasting state or similar qualifier, when the record says it.
    qualifier: str = ""
    #: The record names only a month, a year or another stretch of time: it ends here (exclusive) and begins at ``at``.
    until: datetime | None = None
    #: How the laboratory flags it, where it sends no range to judge it by: ``H``, ``HH`` (as high as to be told at once), ``POS``.
    flag: str = ""
    #: How it is shown, where words of the service stand around what was sent.
    shown: Reason = NO_REASON

    @property
    def as_sent(self) -> RecordText | Reason:
        """What people are shown of it: as it was sent, with what must be known of that."""
        return self.shown or self.raw


#: How a result is shown that has no value in any form.
NO_VALUE = because("shown.no-value")
#: The same, as versions before 0.4 kept it in the registry.
_NO_VALUE_IN_WORDS = "no value"


class UnusableResult(Struct, frozen=True, gc=False):
    """A result that exists but cannot be used, and why (clinical.md 3.1, 3.2): it is shown, never guessed."""

    kind: str
    raw: RecordText
    reason: Reason
    ref: str
    at: datetime | None = None
    date_only: bool = False
    #: Its words alone say of which kind it is: it carries no code that this service knows.
    by_words: bool = False
    #: How it is shown, where words of the service stand around what was sent, or in its place.
    shown: Reason = NO_REASON

    @property
    def as_sent(self) -> RecordText | Reason:
        """What people are shown of it."""
        return self.shown or self.raw

    @property
    def has_value(self) -> bool:
        """False of an observation without any value: it says that nothing was measured."""
        return self.shown != NO_VALUE and self.raw != _NO_VALUE_IN_WORDS


#: The value of an answer in a code or in words that nobody knows here.
NOT_UNDERSTOOD = "not-understood"


class CodedResult(Struct, frozen=True, gc=False):
    """An Observation whose answer is a code or a statement: smoking status, Duffy phenotype, pregnancy, lactation.

    ``value``: one of the values of its kind (``knowledge/codes.toml``), ``unknown``, or :data:`NOT_UNDERSTOOD`.
    """

    kind: str
    value: str
    at: datetime | None
    ref: str
    raw: RecordText
    date_only: bool = False
    #: As of a Measurement: only a month or a year is known.
    until: datetime | None = None


#: Why nobody can tell which drug a record is of: it names none at all.
NAMES_NO_PRODUCT = because("product.none-named")
#: The note of a dose that was read from its text alone.
FROM_THE_TEXT = because("dose-note.from-the-text")


class DoseStep(Struct, frozen=True, gc=False):
    """One step of a titration: mg per day from ``first_day`` (0 = the first day of the order) for ``days`` days."""

    first_day: int
    days: int | None
    mg_per_day: float


class Dose(Struct, frozen=True, gc=False):
    """What an order says of the dose (clinical.md 3.5). ``mg_per_day`` None = unreadable, with ``unreadable`` saying why.

    ``mg_per_day`` is the most that is given on any one day; for a titration the highest step, and ``first_mg_per_day`` the dose of
    day 1. A dose that is not taken every day is the whole dose of its day, never its share of each day.
    """

    mg_per_day: float | None
    first_mg_per_day: float | None = None
    #: Largest single dose in mg.
    largest_single_mg: float | None = None
    doses_per_day: float | None = None
    steps: tuple[DoseStep, ...] = ()
    as_needed: bool = False
    #: No part of it is taken regularly.
    only_as_needed: bool = False
    #: The only daily dose is at bedtime / in the evening.
    bedtime: bool = False
    #: Times of the first day at which it is taken, as written (codes of FHIR's EventTiming, ``hh:mm[:ss]``); empty when a part names none.
    times: tuple[str, ...] = ()
    #: How the dose was written, as sent (shown to the clinician, escaped).
    text: RecordText = NOTHING
    unreadable: Reason = NO_REASON
    #: Assumptions made while reading ("strength from the product name"), shown on the card.
    notes: tuple[Reason, ...] = ()
    #: mg per day on average where not every day has the same dose: how long a supply lasts.
    mean_mg_per_day: float | None = None
    #: What text and fields say where they contradict each other; empty when they agree.
    two_ways: Reason = NO_REASON
    #: What product code, name and Medication resource say of the strength where they contradict each other, although the dose is in mg.
    strengths: Reason = NO_REASON


class Medication(Struct, frozen=True, gc=False):
    """One medication record: a draft, an order, a statement, a dispense or an administration.

    ``drugs`` are ids of ``knowledge/drugs*.toml`` (every ingredient that was recognised); empty = not recognised.
    ``start``/``end`` bound the time it is (to be) taken; for an administration ``start`` is the time of the dose.
    """

    ref: str
    role: MedicationRole
    drugs: tuple[str, ...]
    label: RecordText
    matched_by: MatchedBy = "code"
    #: FHIR status as sent (active, completed, stopped, not-done, ...).
    status: str = "active"
    intent: str = "order"
    systemic: bool = True
    route: RecordText = NOTHING
    parenteral: bool = False
    long_acting: bool = False
    start: datetime | None = None
    start_date_only: bool = False
    #: The record names only a month or a year: it began before this time (exclusive), at ``start`` at the earliest.
    start_until: datetime | None = None
    end: datetime | None = None
    end_date_only: bool = False
    #: When it was ordered; of a statement, when it was said.
    authored: datetime | None = None
    dose: Dose | None = None
    #: Days of supply ordered or dispensed.
    days_supply: float | None = None
    #: How often an order that is over could be dispensed again.
    repeats: int = 0
    #: mg of the drug that was handed over (dispense) or given (administration); None = not known.
    amount_mg: float | None = None
    #: Orders that a dispense fills (authorizingPrescription).
    fills: tuple[str, ...] = ()
    #: The drug was *not* taken (administration not-done, statement not-taken).
    not_taken: bool = False
    #: An administration that did not take place because the patient was on leave from the ward.
    on_leave: bool = False
    #: A statement “not taken” that names no time since when: ``start`` is the moment it speaks of, or was made.
    of_a_moment: bool = False
    #: ``stopped`` by this record: the draft cancels or stops the drug, or the order was stopped.
    stops: bool = False
    stop_reason: RecordText = NOTHING
    #: A reason was sent, and why it is not read.
    stop_reason_unread: Reason = NO_REASON
    #: references of earlier orders that this one replaces (priorPrescription, basedOn, replaces).
    replaces: tuple[str, ...] = ()
    #: order-select: the clinician has just selected this draft. Always True on other hooks.
    selected: bool = True
    #: "inpatient", "outpatient", "community", "discharge" when the order's category says so.
    setting: str = ""
    #: Orders that this one carries out or is based on (``basedOn``), whatever its intent.
    based_on: tuple[str, ...] = ()
    #: Business identifiers (``system|value``) of an order of clozapine.
    identifiers: tuple[str, ...] = ()
    #: The order may be dispensed until then (``dispenseRequest.validityPeriod.end``).
    valid_until: datetime | None = None
    #: An order or statement that is over was so at this time: ``meta.lastUpdated``, or when this service first saw it over.
    updated: datetime | None = None
    #: This service saw it active at this time, before it was over.
    seen_active: datetime | None = None
    #: mg in one unit (tablet) of a draft of clozapine, when its product tells.
    strength_mg: float | None = None
    #: Why nobody can tell which drug it is (its product was not sent): it may be clozapine. Empty when a code or a name tells.
    unread: Reason = NO_REASON

    @property
    def stopped_because(self) -> RecordText | Reason:
        """The reason of a stop as sent, or why it is not read; empty where none was sent."""
        return self.stop_reason_unread or self.stop_reason


class TestOrder(Struct, frozen=True, gc=False):
    """An order for a test (drafted in this session, or active): satisfies the suggestion to order it (cds-hooks.md R5a)."""

    ref: str
    tests: tuple[str, ...]
    label: RecordText
    draft: bool = True
    #: A standing order: days from one test to the next; None: once, or it does not say.
    every_days: float | None = None


class Problem(Struct, frozen=True, gc=False):
    """A Condition, classified by ``knowledge/conditions.toml`` into ``kinds``."""

    ref: str
    kinds: tuple[str, ...]
    label: RecordText
    clinical_status: RecordText = NOTHING
    verification: RecordText = NOTHING
    onset: datetime | None = None
    onset_date_only: bool = False
    #: The record names only a month or a year: it began before this time (exclusive), at ``onset`` at the earliest.
    onset_until: datetime | None = None
    #: The kinds that its words name; the others come from codes alone, whose meaning is often wider (D70.8).
    named: tuple[str, ...] = ()
    #: When it ended, as far as a date says so.
    abated: datetime | None = None
    #: The diagnosis of one encounter, not an entry of the problem list.
    of_encounter: bool = False
    #: When it was put on record: it may have begun long before.
    recorded: datetime | None = None
    #: How it is shown where its record has no words: by the kind that its code was read as.
    shown: Reason = NO_REASON

    @property
    def name(self) -> RecordText | Reason:
        """What people are shown as its name."""
        return self.shown or self.label


class Allergy(Struct, frozen=True, gc=False):
    """An AllergyIntolerance with the drugs it names."""

    ref: str
    drugs: tuple[str, ...]
    label: RecordText
    clinical_status: RecordText = NOTHING
    verification: RecordText = NOTHING
    reaction: RecordText = NOTHING


class ReadProblem(Struct, frozen=True, gc=False):
    """A resource (or a part of one) that could not be read, or was left out, and why. Never contains patient data beyond the reference."""

    source: str
    ref: str
    reason: Reason
    #: True if what is missing could have changed the answer (a count, a clozapine order), False for noise.
    matters: bool = True
    #: What can be seen of it points to clozapine: it names the drug, or it is a count too low for it.
    hints: bool = False
    #: It is of interest only where clozapine is in question anyway: an order of a type this service does not read.
    in_question_only: bool = False
    #: It is of interest only where nothing else says that clozapine is taken: a dispense of it without a date.
    if_not_known: bool = False
    #: It is of interest only where clozapine is ordered: a problem in a code that no table holds.
    at_orders: bool = False
    #: A blood count of that time was done, and its values did not come: of interest while no usable count is as new ...
    counted: datetime | None = None
    #: ... and, unless this is False, one is due.
    if_due: bool = True


class ClinicianFlag(Struct, frozen=True, gc=False):
    """A statement of a clinician kept in the registry: benign ethnic neutropenia, an agreed deviation, what is done with clozapine.

    Args:
        kind: ``ben`` | ``deviation`` | ``hold`` | ``stop`` | ``restart`` | ``do-not-rechallenge``, or one that no rule asks for.
        by: who said it (a reference or a name, as given).
        at: when.
        text: in the clinician's words.
        continue_at: deviation: counts from here on (cells/µL) were agreed to be no reason to stop.
        expires: the agreement ends then.
        since: hold, stop: the last dose that was taken; restart: the first that is planned.
    """

    kind: str
    by: RecordText
    at: datetime
    text: RecordText = NOTHING
    continue_at: float | None = None
    expires: datetime | None = None
    since: datetime | None = None

    def holds(self, as_of: datetime) -> bool:
        """True while the flag is in force."""
        return self.at <= as_of and (self.expires is None or as_of < self.expires)


#: What may be put in from the registry: the start of treatment, which drug an order is of, and records of a kind.
RecalledPart = Literal["start", "product", "counts", "results", "medications", "problems"]


class FromRegistry(Struct, frozen=True, gc=False):
    """What was put in from the registry, and the day of what it kept (None: not said). Without parts: the registry could not be read."""

    parts: tuple[RecalledPart, ...] = ()
    since: date | None = None


class PatientSnapshot(Struct, frozen=True, kw_only=True, gc=False):
    """Everything the rules may know about one patient at one moment."""

    patient_id: str
    hook: str
    zone: tzinfo = UTC
    sex: str = ""
    birth_date: date | None = None
    #: The EHR says that the patient has died.
    deceased: bool = False
    drafts: tuple[Medication, ...] = ()
    medications: tuple[Medication, ...] = ()
    test_orders: tuple[TestOrder, ...] = ()
    #: kind -> values in any order; usable ones only.
    measurements: dict[str, tuple[Measurement, ...]] = {}
    unusable: tuple[UnusableResult, ...] = ()
    coded: tuple[CodedResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    sources: dict[str, SourceState] = {}
    read_problems: tuple[ReadProblem, ...] = ()
    #: What became of everything that was sent. No rule asks it.
    ledger: Ledger = EMPTY
    #: What clinicians stated in the registry (``remembered.ClinicianFlag``).
    flags: tuple[ClinicianFlag, ...] = ()
    #: What was put in from the registry because the call's own data lack it; every card of the call says so.
    remembered: tuple[FromRegistry, ...] = ()
    #: The registry knows the patient as one on clozapine, or lately stopped.
    registered: bool = False
    #: When each source was read completely last, as the registry keeps it; a result that arrived alone is no reading.
    read_at: dict[str, datetime] = {}

    def state(self, source: SourceName) -> SourceState:
        """State of one source; a source nobody mentions was not looked at, hence unavailable."""
        return self.sources.get(source, "unavailable")

    def day(self, moment: datetime) -> date:
        """Calendar day of a moment in the site's time zone (clinical.md 1.8: the site's zone decides the date)."""
        return moment.astimezone(self.zone).date()
