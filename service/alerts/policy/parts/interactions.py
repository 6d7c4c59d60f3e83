"""Times and levels of the interaction rules (clinical.md 2.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Text, Value


class Interactions(Struct, frozen=True, forbid_unknown_fields=True):
    """Times and levels of the interaction rules (clinical.md 2.4)."""

    #: ``eu`` = marrow-toxic drugs and depots are contraindicated; ``us`` = cautioned.
    severity_region: Literal["us", "eu"]
    long_standing_days: Annotated[Value, Quantity("d", 1, 365)]
    titration_days: Annotated[Value, Quantity("d", 1, 365)]
    stopped_within_days: Annotated[Value, Quantity("d", 1, 120)]
    smoking_within_days: Annotated[Value, Quantity("d", 1, 365)]
    smoking_critical_dose: Annotated[Value, Quantity("mg/d", 50, 900)]
    smoking_critical_level: Annotated[Value, Quantity("ng/mL", 100, 1000)]
    qt_drugs_critical: Annotated[Value, Quantity("", 1, 10)]
    #: A strong inhibitor and clozapine, both unchanged for so long, are adjusted to each other when a level says so, ...
    settled_days: Annotated[Value, Quantity("d", 7, 365)]
    #: ... taken so long after the last change.
    level_after_days: Annotated[Value, Quantity("d", 2, 90)]
    #: Beside a drug that can depress the marrow and cannot be replaced: a blood count so often, ...
    marrow_count_days: Annotated[Value, Quantity("d", 1, 31)]
    #: ... and for so long after it.
    marrow_after_days: Annotated[Value, Quantity("d", 7, 365)]
    #: Classes (ids of ``interactions.toml``) that the site leaves to the EHR's own interaction checker.
    left_to_ehr: tuple[str, ...] = ()
    #: What the protocol asks of the blood counts when valproate is given too.
    valproate: Text | None = None
