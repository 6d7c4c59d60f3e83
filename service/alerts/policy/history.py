"""Which policy was in force on a day: past prescriptions are judged by the protocol of their time (clinical.md 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from service.alerts.policy.policy import Policy, PolicyError, policy_by_id, policy_ids


def line_of(policy: Policy, known: Mapping[str, Policy]) -> tuple[Policy, ...]:
    """A policy with everything it superseded and everything that superseded it, oldest first.

    Args:
        policy: any one of the line.
        known: the policies that may belong to it, by id.
    """
    linked = {policy.id}
    while True:
        more = {p.id for p in known.values() if p.superseded_by in linked}
        more |= {known[i].superseded_by for i in linked if known[i].superseded_by in known}
        if more <= linked:
            break
        linked |= more
    return tuple(sorted((known[i] for i in linked), key=lambda p: p.valid_from))


def in_force(line: Iterable[Policy], on: date) -> Policy | None:
    """The policy of a line that was in force on a day, in the site's time zone; None when none was."""
    return next((p for p in line if p.valid_on(on)), None)


def policy_in_force(policy_id: str, on: date) -> Policy:
    """The shipped policy that was in force on a day, out of the line of ``policy_id``: asked for any US policy, the REMS before
    2025-02-24 and the label after.

    Raises PolicyError for an unknown id, and for a day on which none of the line was in force: no day is judged by a protocol that did
    not apply.
    """
    shipped = {known_id: policy_by_id(known_id) for known_id in policy_ids()}
    line = line_of(policy_by_id(policy_id), shipped)
    found = in_force(line, on)
    if found is None:
        first, last = line[0], line[-1]
        why = (
            f"{first.id!r} begins on {first.valid_from}"
            if on < first.valid_from
            else f"{last.id!r} ended on {last.valid_to}"
        )
        raise PolicyError(f"no policy of the line of {policy_id!r} was in force on {on}: {why}")
    return found
