"""The card in place of an error status: a hook call that could not be judged, and hints at clozapine, is answered in words.

An EHR shows its user nothing for an error status: no card would look like nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Raw

from cds_hooks import Failure, HookRequest, Response
from service.alerts.facts.patient import ORDER_HOOKS
from service.alerts.knowledge.hint import hints_at_clozapine
from service.alerts.say.cards import card_of
from service.alerts.say.cited import own
from service.alerts.say.finding import Finding
from service.alerts.say.found import Found, told
from service.alerts.say.language import english
from service.alerts.say.sentence import Sentence, quoting, sentence
from service.fhir.decode import read_value, sound
from service.fhir.references import read_reference
from service.fhir.resources import Medication, MedicationRequest, Resource
from service.hooks.causes import cause_of, said_of
from service.hooks.render import render_all
from service.ops.metrics import Metrics
from service.options.site import Site
from service.trail.call import Call
from service.trail.recorder import Recorder

CODE = "data-unavailable"
_SUBJECT = "call"
_NOTHING = Raw(b"")
_NAMED = sentence("not-judged.named")
_UNNAMED = sentence("not-judged.unnamed")
#: Trying again does not help against these.
_LASTING = frozenset({"too-long", "too-costly"})


def finding_of(failure_code: str, incident: str, why: Sentence = _NAMED) -> Finding:
    """A failed call as a finding. It holds nothing of the patient."""
    found = Found(
        code=CODE,
        severity="warning",
        subject=_SUBJECT,
        summary=said_of(failure_code),
        why=(why, sentence("not-judged.nothing-checked")),
        policy_says=(sentence("not-judged.policy"),),
        suggested=(
            sentence("not-judged.by-hand"),
            sentence("not-judged.no-use" if failure_code in _LASTING else "not-judged.again"),
            sentence("not-judged.operators", incident=quoting(incident)),
        ),
        unchecked=(
            sentence("not-judged.unchecked-counts"),
            sentence("not-judged.unchecked-doses"),
            sentence("not-judged.unchecked-interactions"),
            sentence("not-judged.unchecked-monitoring"),
        ),
        missing=(sentence("not-judged.missing"),),
        citation=own("unchecked"),
        changes_order=True,
    )
    return told(found, english())


class Unchecked:
    """Speaks up for calls that could not be judged (``cds_hooks.Fallback``), counts them and keeps them in the audit trail.

    Args:
        site: the site of calls without a principal (open mode).
        clock: the moment.
        recorder: keeps the audit trail.
        metrics: counts.
    """

    def __init__(
        self, site: Site | None, *, clock: Callable[[], datetime], recorder: Recorder, metrics: Metrics
    ) -> None:
        self._site = site
        self._clock = clock
        self._recorder = recorder
        self._metrics = metrics

    def wanted(self, principal: object) -> bool:
        """Whether the site of a call asks for cards. A site in shadow shows nothing to anybody: it gets the status."""
        site = self._site_of(principal)
        return (
            site is not None
            and site.says_errors == "card"
            and not site.options.shadow
            and CODE not in site.options.shadow_codes
        )

    def concerned(self, principal: object, part: bytes) -> bool:
        """Whether a part of a body mentions clozapine by a name or a code, the site's own among them."""
        site = self._site_of(principal)
        return hints_at_clozapine(part, _local_codes(site) if site is not None else ())

    def respond(self, failure: Failure, concerned: bool) -> Response | None:
        """The card, where the site wants it and the call hints at clozapine; counts and keeps the failure either way."""
        site = self._site_of(failure.principal)
        why = _NAMED if concerned else _UNNAMED if names_unsent_product(failure.request) else None
        said = why is not None and self.wanted(failure.principal)
        self._metrics.not_judged(failure.service_id, cause_of(failure.code), "card" if said else "status")
        if site is None:
            return None
        if why is None or not said:
            # Refused before anything was read: counted, and not worth a row each.
            if failure.request is not None or failure.code in ("exception", "timeout", "too-costly"):
                self._record(site, failure, [])
            return None
        text = card_of(finding_of(failure.code, failure.incident, why))
        (card,) = render_all([text], site, "", _NOTHING)

        return Response(
            (card,),
            record=lambda: self._record(site, failure, [(card.uuid, CODE, card.indicator, [], _SUBJECT)]),
            after=lambda: self._metrics.card(CODE, site.name, failure.hook),
        )

    def _site_of(self, principal: object) -> Site | None:
        return principal if isinstance(principal, Site) else self._site

    def _record(
        self, site: Site, failure: Failure, cards: list[tuple[str, str, str, list[str], str]]
    ) -> None:
        request = failure.request
        self._recorder.record(
            Call(
                at=self._clock(),
                site=site.name,
                service=failure.service_id,
                hook=failure.hook,
                hook_instance=request.hook_instance if request is not None else "",
                user=request.context.user_id if request is not None else "",
                policy=site.policy.id,
                seconds=failure.seconds,
                resources={},
                findings=[(CODE, "warning", _SUBJECT)],
                cards=cards,
                status=failure.status,
            )
        )


def _local_codes(site: Site) -> list[str]:
    return [code for (_, code), target in site.maps.codes.items() if target == "clozapine"]


def names_unsent_product(request: HookRequest | None) -> bool:
    """Whether an order in question names its product by a reference alone, to a resource that was not sent: it may be clozapine."""
    if request is None or request.hook not in ORDER_HOOKS or not len(request.context.orders):
        return False
    try:
        orders = read_value(request.context.orders, "draftOrders").resources
        wanted = {read_reference(name).id for order in orders if (name := _bare_reference(order))}
        return bool(wanted) and not wanted <= _sent_medications(request)
    except Exception:
        return False  # what cannot be read may be what failed the call


def _bare_reference(order: Resource) -> str:
    if not isinstance(order, MedicationRequest) or order.medicationReference is None:
        return ""
    reference = order.medicationReference.reference or ""
    named = order.medicationReference.display or order.medicationCodeableConcept is not None
    return "" if named or reference.startswith("#") else reference


def _sent_medications(request: HookRequest) -> set[str]:
    """Ids of the products that came with a call."""
    found: set[str] = set()
    for value in request.prefetch.values():
        if value is not None:
            decoded = read_value(value, "") if isinstance(value, Raw) else sound(value, "")
            found |= {r.id for r in decoded.resources if type(r) is Medication and r.id}
    return found
