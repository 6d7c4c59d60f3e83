"""What a group of drugs does beside clozapine (``knowledge/interactions.toml``, clinical.md 2.4), without its members."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load
from service.alerts.say.finding import Severity

Condition = Literal["default", "long_standing", "eu", "titration", "first_weeks", "high_dose", "qt_critical"]


class Pair(Struct, frozen=True, forbid_unknown_fields=True):
    """Two drugs that must not meet beside clozapine: one by injection, and any of a class."""

    injected: str
    beside: str
    severity: Severity
    headline: str
    step: str
    source: str
    section: str = ""
    confirmed: bool = True


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """What documents of one region say of a class, and which."""

    says: str
    source: str
    section: str = ""
    confirmed: bool = True


class InteractionClass(Struct, frozen=True, forbid_unknown_fields=True):
    """A group of drugs that act alike on clozapine (clinical.md 2.4). Without ``finding`` it is only asked for by other rules."""

    id: str
    title: str
    source: str
    #: Ids of its members, from their own records.
    drugs: tuple[str, ...] = ()
    finding: str = ""
    effect: str = ""
    headline: str = ""
    mechanism: str = ""
    says: str = ""
    steps: tuple[str, ...] = ()
    severity: dict[Condition, Severity] = {}
    #: Severity for single drugs, instead of ``severity["default"]``.
    severity_of: dict[str, Severity] = {}
    #: Finding code when a drug of the class was stopped.
    stopped: str = ""
    #: What the same document says of that stop: ``says`` speaks of the beginning, which is the other direction.
    stopped_says: str = ""
    reduce_to_one_third: bool = False
    #: The class applies to long-acting injections only.
    long_acting_only: bool = False
    #: No finding while a drug of this class is taken.
    unless_taking: str = ""
    #: No finding for a product that holds a drug of this class too.
    not_beside: str = ""
    #: Drugs that are critical when given by injection.
    parenteral_critical: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    section: str = ""
    confirmed: bool = True
    unconfirmed: tuple[str, ...] = ()
    #: The same under a policy of the region ``us``, whose patients the documents of the class do not speak of.
    us: Told | None = None
    #: Steps instead of ``steps`` while clozapine is being titrated.
    titration_steps: tuple[str, ...] = ()
    #: Steps instead of ``steps`` in the first weeks of clozapine, when myocarditis is to be feared.
    first_weeks_steps: tuple[str, ...] = ()
    #: Steps instead of ``steps`` for a drug against cancer (ATC L01), which no other drug replaces.
    cancer_steps: tuple[str, ...] = ()
    #: Steps instead of ``steps`` while it is information only.
    info_steps: tuple[str, ...] = ()
    #: First step for a drug that is critical by injection: when it is injected, and when it is not.
    injection_step: str = ""
    mouth_step: str = ""
    #: What product information of the region ``eu`` says of the class, in a few words for the summary.
    eu_briefly: str = ""
    #: Days until the effect on the clozapine level is full, and until it is gone after the last dose.
    onset_days: int = 0
    offset_days: int = 0
    #: ``long_standing`` holds only while the record shows this: an ECG taken since, a laxative that is taken.
    settled_by: Literal["", "ecg", "laxative"] = ""
    #: As information it is for a visit, not for an order.
    visits_only: bool = False
    #: The EHR's own interaction checker may be left to tell of it.
    may_be_left: bool = False
    pairs: tuple[Pair, ...] = ()
    #: Words in a product's name by which it is kept for an emergency: information only.
    kept_for_emergency: tuple[str, ...] = ()


class _Interactions(Struct, forbid_unknown_fields=True, rename={"classes": "class"}):
    classes: tuple[InteractionClass, ...]


@cache
def defined_classes() -> tuple[InteractionClass, ...]:
    """The classes of the data file, in its order, without their members."""
    return msgspec.convert(load("interactions.toml"), _Interactions).classes
