"""The facts of one question, read with everything that the site says of itself: one way in for hook calls, the FHIR operation and Python."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from service.alerts.facts.patient import PatientSnapshot
from service.fhir import snapshot as fhir_snapshot
from service.fhir.gather import Gathered
from service.options.site import Site


def site_facts(
    site: Site,
    gathered: Gathered,
    *,
    patient_id: str,
    hook: str,
    orders: Raw,
    selections: Sequence[str] | None = None,
    in_words: bool = False,
) -> PatientSnapshot:
    """The snapshot of a question at a site.

    Args:
        site: whose zone, own codes and units apply.
        gathered: what was sent and fetched.
        patient_id: the patient in context.
        hook: name of the hook.
        orders: the orders that are asked about, as sent; empty for none.
        selections: order-select: the ids of the newly selected orders, which other hooks do not have.
        in_words: the ledger holds an entry for everything, not only the sums.
    """
    return fhir_snapshot.build(
        patient_id=patient_id,
        hook=hook,
        zone=site.zone,
        gathered=gathered,
        orders=orders,
        selections=selections if hook == "order-select" else None,
        maps=site.maps,
        in_words=in_words,
    )
