"""Local codes and units of a site must stand for something that this service knows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from service.alerts.knowledge.codes import dimensions, kinds
from service.alerts.knowledge.drugs import drug_ids
from service.fhir.units import conversion


def check_codes(codes: Mapping[str, str]) -> None:
    """Local codes must stand for something. Raises ValueError."""
    known = {*kinds(), *drug_ids()}
    for key, target in codes.items():
        if target not in known:
            near = difflib.get_close_matches(target, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{key!r}: {target!r} is neither a result kind nor a drug this service knows{hint}"
            )


def check_units(units: Mapping[str, str]) -> None:
    """Units of results sent without one must be understood: else the results would go unread. Raises ValueError."""
    for key, unit in units.items():
        if all(conversion(dimension, unit) is None for dimension in dimensions()):
            raise ValueError(f"{key!r}: {unit!r} is not a unit this service reads, such as 10*3/uL or ng/mL")
