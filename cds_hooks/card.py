"""Cards, suggestions, actions and links, checked when they are made (cds-hooks checklist C1–C12), encoded without empty members (J2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

Indicator = Literal["info", "warning", "critical"]
SelectionBehavior = Literal["at-most-one", "any"]

SUMMARY_LENGTH = 140
_TOPIC = re.compile(r"^[A-Za-z0-9-]{1,100}$")
_ABSOLUTE = re.compile(r"^https?://[^\s]+$")


class Wire(Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Base of what is sent: members that have no value are left out."""


class Coding(Wire, frozen=True, kw_only=True):
    """FHIR Coding."""

    system: str
    code: str
    display: str = ""


class Source(Wire, frozen=True, kw_only=True):
    """Where the guidance comes from."""

    label: str
    url: str = ""
    icon: str = ""
    topic: Coding | None = None

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("source.label is required")
        if self.url and not _ABSOLUTE.match(self.url):
            raise ValueError("source.url must be absolute")
        if self.topic is not None and not _TOPIC.match(self.topic.code):
            raise ValueError("source.topic.code must be alphanumeric with hyphens, at most 100 characters")


class Action(Wire, frozen=True, kw_only=True):
    """One change to the orders. ``resource`` for create and update, ``resourceId`` for delete."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: Any = UNSET
    resourceId: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not self.description:
            raise ValueError("action.description is required")
        if (self.type == "delete") != (self.resource is UNSET) or (self.type == "delete") != bool(
            self.resourceId
        ):
            raise ValueError("a delete names resourceId and no resource; create and update carry a resource")


class Suggestion(Wire, frozen=True, kw_only=True):
    """A change the user may accept; its actions are applied together."""

    label: str
    uuid: str
    isRecommended: bool = False
    actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("suggestion.label is required")


class Link(Wire, frozen=True, kw_only=True):
    """A link to a page (absolute) or an app (smart)."""

    label: str
    url: str
    type: Literal["absolute", "smart"]
    appContext: str = ""

    def __post_init__(self) -> None:
        if not self.label or not _ABSOLUTE.match(self.url):
            raise ValueError("a link needs a label and an absolute url")
        if self.appContext and self.type != "smart":
            raise ValueError("appContext goes with smart links only")


class Card(Wire, frozen=True, kw_only=True):
    """One piece of guidance."""

    uuid: str
    summary: str
    indicator: Indicator
    source: Source
    detail: str = ""
    suggestions: tuple[Suggestion, ...] = ()
    selectionBehavior: SelectionBehavior | None = None
    overrideReasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        if not self.summary or len(self.summary) >= SUMMARY_LENGTH or "\n" in self.summary:
            raise ValueError(f"a summary is one sentence of fewer than {SUMMARY_LENGTH} characters")
        if self.indicator not in ("info", "warning", "critical"):
            raise ValueError("indicator must be info, warning or critical")
        if bool(self.suggestions) != (self.selectionBehavior is not None):
            raise ValueError("suggestions and selectionBehavior go together")
        if self.selectionBehavior == "at-most-one" and sum(s.isRecommended for s in self.suggestions) > 1:
            raise ValueError("with at-most-one, at most one suggestion is recommended")
        if any(not reason.display for reason in self.overrideReasons):
            raise ValueError("every override reason needs a display")


class Response(Struct, frozen=True):
    """The answer to a hook call.

    ``record`` runs before the answer leaves, so that nothing is answered that was not recorded: it should be quick, and must not block.
    ``after`` runs when the answer has been sent. Neither can fail the answer.
    """

    cards: tuple[Card, ...] = ()
    system_actions: tuple[Action, ...] = ()
    record: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    #: The body, where it was written elsewhere; then nothing else of it counts.
    encoded: bytes = b""


class _Body(Struct, omit_defaults=True):
    cards: tuple[Card, ...] | UnsetType = UNSET
    systemActions: tuple[Action, ...] = ()


_encoder = msgspec.json.Encoder()
NO_CARDS = b'{"cards":[]}'


def encode(response: Response) -> bytes:
    """The response body; ``cards`` is always there, nothing else is sent empty."""
    if response.encoded:
        return response.encoded
    if not response.cards and not response.system_actions:
        return NO_CARDS
    return _encoder.encode(_Body(response.cards, response.system_actions))
