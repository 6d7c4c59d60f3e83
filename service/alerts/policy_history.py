"""Which policy was in force on a day: past prescriptions are judged by the protocol of their time (clinical.md 1)."""

from __future__ import annotations

from datetime import date

from service.alerts.policy import Policy, PolicyError, policy_by_id, policy_ids


def predecessor_of(policy: Policy) -> Policy | None:
    """The shipped policy that ``policy`` superseded; None for the first of its line."""
    for policy_id in policy_ids():
        earlier = policy_by_id(policy_id)
        if earlier.superseded_by == policy.id and earlier.id != policy.id:
            return earlier
    return None


def policy_in_force(policy_id: str, on: date) -> Policy:
    """The policy of the line of ``policy_id`` that was in force on a day.

    The line is followed through ``superseded_by`` in both directions: asked for any US policy, the answer is the REMS before
    2025-02-24 and the label after.

    Args:
        policy_id: id of a shipped policy.
        on: the day, in the site's time zone.

    Raises PolicyError for an unknown id, for a day before the first policy of the line, and for a day after the last one that ended
    without a successor: a back-test must not judge a day by a protocol that did not apply.
    """
    policy = policy_by_id(policy_id)
    seen = {policy.id}
    while not policy.valid_on(on):
        if on < policy.valid_from:
            found = predecessor_of(policy)
            if found is None:
                raise PolicyError(
                    f"no policy of the line of {policy_id!r} was in force on {on}: {policy.id!r} begins on {policy.valid_from}"
                )
        elif policy.superseded_by:
            found = policy_by_id(policy.superseded_by)
        else:
            raise PolicyError(
                f"no policy of the line of {policy_id!r} was in force on {on}: {policy.id!r} ended on {policy.valid_to}"
            )
        if found.id in seen:
            raise PolicyError(
                f"no policy of the line of {policy_id!r} was in force on {on}: there is a gap between {policy.id!r} and {found.id!r}"
            )
        seen.add(found.id)
        policy = found
    return policy
