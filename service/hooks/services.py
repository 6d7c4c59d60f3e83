"""The seven CDS services (contract "CDS services"): one id per hook."""

from __future__ import annotations

from collections.abc import Sequence

from cds_hooks import Service
from cds_hooks.discovery import Handler
from service.fhir.decode import Value
from service.fhir.queries import QUERIES

_WHAT = (
    "Checks clozapine against blood counts (ANC), missed doses, interacting drugs and overdue monitoring; "
    "every card explains itself with the facts and the source behind it."
)
_DESCRIPTIONS = {
    "order-select": ("Clozapine check while ordering", "Orders being chosen. "),
    "order-sign": ("Clozapine check at signing", "Orders about to be signed. "),
    "medication-verify": ("Clozapine check for the pharmacist", "A signed order being verified. "),
    "medication-refill": ("Clozapine check at refill", "Refills of existing prescriptions. "),
    "patient-view": ("Clozapine overview", "A chart being opened: also what is due soon. "),
    "encounter-start": ("Clozapine check at admission", "An encounter beginning. "),
    "encounter-discharge": ("Clozapine check at discharge", "An encounter ending: also what is due soon. "),
}
_REQUIREMENTS = (
    "Needs blood counts and medications by prefetch, or read access to the FHIR server for Patient, MedicationRequest, "
    "MedicationStatement, MedicationDispense, MedicationAdministration, Observation, Condition and AllergyIntolerance. "
    "What is missing is named on a card; so is that nothing was checked, where an EHR asks for cards in place of error statuses."
)


def services(handler: Handler, hooks: Sequence[str] | None = None) -> list[Service]:
    """The services of this installation, in the order of the contract."""
    return [
        Service(
            id=f"clozapine-{hook}",
            hook=hook,
            title=title,
            description=intro + _WHAT,
            usage_requirements=_REQUIREMENTS,
            prefetch=QUERIES,
            handler=handler,
            reads=Value | None,
        )
        for hook, (title, intro) in _DESCRIPTIONS.items()
        if hooks is None or hook in hooks
    ]
