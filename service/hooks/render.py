"""Card texts become CDS Hooks cards: source, topic, suggestions that work, override reasons, links."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
from msgspec import Raw

from cds_hooks import Action, Card, Coding, Link, Source, Suggestion
from service.alerts.knowledge.catalogue import override_reasons, referral, test
from service.alerts.say.cards import CardText, card_of, not_shown
from service.alerts.say.finding import (
    ChangeDose,
    FaultObserver,
    NotifyTeam,
    Offer,
    OrderTest,
    ReferTo,
    RemoveDraft,
)
from service.alerts.say.finding_codes import patient_sheet_of
from service.alerts.say.language import english
from service.alerts.say.sentence import Dose, Term, quoting, sentence
from service.fhir import build
from service.hooks.identifiers import Identifiers
from service.options.site import Site

#: Suggestions of one card: nobody chooses among hundreds.
_MOST_SUGGESTIONS = 20
#: Cards are rendered in the event loop only, one thread.
_identifiers = Identifiers()


class Drafts:
    """The draft orders as sent, found by reference; parsed only when a card offers to change one."""

    def __init__(self, orders: Raw) -> None:
        self._orders = orders
        self._parsed: dict[str, dict[str, Any]] | None = None

    def __getitem__(self, reference: str) -> dict[str, Any] | None:
        if self._parsed is None:
            self._parsed = {}
            content = orjson.loads(bytes(self._orders)) if len(self._orders) else {}
            resources = [content]
            if content.get("resourceType") == "Bundle":
                entries = content.get("entry")
                resources = (
                    [e.get("resource") for e in entries if isinstance(e, dict)]
                    if isinstance(entries, list)
                    else []
                )
            for resource in resources:
                if isinstance(resource, dict):
                    self._parsed[f"{resource.get('resourceType')}/{resource.get('id')}"] = resource
        return self._parsed.get(reference)


def _ordered(what: Term) -> str:
    return english().plain(sentence("action.order", what=what))


def _action(offer: Offer, patient_id: str, drafts: Drafts) -> tuple[str, Action] | None:
    """Label and action of an offer; None when the draft it would change is not there."""
    match offer:
        case OrderTest():
            label = _ordered(Term("test", offer.test, test(offer.test).title))
            resource = build.test_order(offer.test, patient_id, offer.priority, offer.reason)
            return label, Action(type="create", description=label, resource=resource)
        case ReferTo():
            label = _ordered(Term("referral", offer.specialty, referral(offer.specialty).title.lower()))
            resource = build.referral_order(offer.specialty, patient_id, offer.priority, offer.reason)
            return label, Action(type="create", description=label, resource=resource)
        case NotifyTeam():
            label = english().plain(sentence("action.team"))
            return label, Action(
                type="create",
                description=label,
                resource=build.team_task(offer.task, patient_id, offer.reason),
            )
        case RemoveDraft():
            label = english().plain(sentence("action.remove-draft", order=quoting(offer.label)))
            return label, Action(type="delete", description=label, resourceId=offer.ref)
        case ChangeDose():
            draft = drafts[offer.ref]
            if draft is None:
                return None
            per_day = offer.doses_per_day
            order, dose = quoting(offer.label), Dose(offer.mg_per_day)
            change = (
                sentence("action.change-dose-tablet", order=order, dose=dose, tablet=Dose(offer.tablet_mg))
                if offer.tablet_mg is not None
                else sentence("action.change-dose", order=order, dose=dose)
            )
            label = english().plain(change)
            description = english().plain(sentence("action.change-dose-check", change=change))
            scaled = build.scaled_dose(draft, offer.mg_per_day, offer.step_mg) if offer.step_mg else None
            return label, Action(
                type="update",
                description=description,
                resource=scaled or build.changed_dose(draft, offer.mg_per_day, per_day, offer.tablet_mg),
            )


@lru_cache(maxsize=64)
def _reasons(set_id: str, own: str) -> tuple[Coding, ...]:
    return tuple(
        Coding(system=r.system or own, code=r.code, display=r.display) for r in override_reasons(set_id)
    )


@lru_cache(maxsize=64)
def _policy_link(base_url: str, policy_id: str, title: str) -> tuple[Link, ...]:
    label = english().plain(sentence("action.policy", title=Term("policy", f"{policy_id}/title", title)))
    return (Link(label=label, url=f"{base_url}/policies/{policy_id}", type="absolute"),)


@lru_cache(maxsize=256)
def _sheet_link(base_url: str, policy_id: str, section: str) -> tuple[Link, ...]:
    """To the sheet for the patient, at the section that the card is about; none for a card that has nothing to hand out."""
    if not section:
        return ()
    place = "" if section == "whole" else f"#{section}"
    url = f"{base_url}/policies/{policy_id}/patient{place}"
    return (Link(label=english().plain(sentence("action.patient-sheet")), url=url, type="absolute"),)


_sources: dict[tuple[str, str, str, str], Source] = {}


def _cached_source(site: Site, label: str, url: str, code: str, title: str) -> Source:
    # A Site is not hashable (it holds a policy); its finding system is what matters here.
    key = (site.links.finding_system, label, url, code)
    source = _sources.get(key)
    if source is None:
        topic = Coding(system=site.links.finding_system, code=code, display=title)
        source = _sources[key] = Source(label=label, url=url, topic=topic)
    return source


def render_all(
    texts: Sequence[CardText],
    site: Site,
    patient_id: str,
    orders: Raw,
    on_fault: FaultObserver | None = None,
) -> tuple[Card, ...]:
    """The cards of one answer, one for each text.

    Args:
        texts: what the cards say.
        site: whose cards they are.
        patient_id: the patient in context.
        orders: the orders of the hook's context, as sent; a card may offer to change one.
        on_fault: told of what could not be built.

    What cannot be built costs itself: a suggestion or a link is left out (the card says in words what to do), and of a whole card a
    ``data-unavailable`` card takes the place.
    """
    drafts = Drafts(orders)

    def failed(what: str, fault: Exception) -> None:
        if on_fault is not None:
            on_fault(what, fault)

    def one(text: CardText) -> Card:
        try:
            return render(text, site, patient_id, drafts, failed)
        except Exception as fault:
            failed(f"card {text.code}", fault)
            notice = card_of(not_shown(text.code, text.severity, text.subject))
            return render(notice, site, patient_id, drafts, failed)

    return tuple([one(text) for text in texts])


def render(text: CardText, site: Site, patient_id: str, drafts: Drafts, on_fault: FaultObserver) -> Card:
    """One card of the protocol; suggestions and links that cannot be built are left out. Raises ValueError for anything else."""
    suggestions: list[Suggestion] = []
    for offer in text.offers[:_MOST_SUGGESTIONS]:
        try:
            action = _action(offer, patient_id, drafts)
            if action is not None:
                # One action per suggestion: some clients apply only the first (C7a).
                suggestions.append(Suggestion(label=action[0], uuid=_identifiers.new(), actions=(action[1],)))
        except Exception as fault:
            on_fault(f"suggestion {type(offer).__name__}", fault)
    policy = site.policy
    links: tuple[Link, ...] = ()
    try:
        sheet = _sheet_link(site.links.base_url, policy.id, patient_sheet_of(text.code))
        links = (*_policy_link(site.links.base_url, policy.id, policy.title), *sheet)
    except Exception as fault:
        on_fault("link policy", fault)
    label = text.citation.label
    return Card(
        uuid=_identifiers.new(),
        summary=text.summary,
        indicator=text.severity,
        source=_cached_source(site, label, text.citation.url, text.code, text.title),
        detail=text.detail,
        suggestions=tuple(suggestions),
        selectionBehavior=site.selection_behavior if suggestions else None,
        overrideReasons=_reasons(text.overrides, site.links.reason_system) if text.severity != "info" else (),
        links=links,
    )
