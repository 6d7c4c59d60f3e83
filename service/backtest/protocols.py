"""Which policies are compared, and which of a chain of successors was in force on a day."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from service.alerts.policy.check import load_sound
from service.alerts.policy.history import line_of
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.backtest.replay import Protocol


def policy_of(name: str) -> Policy:
    """A shipped policy by id, or a sound ``.toml`` file. Raises PolicyError."""
    return load_sound(Path(name)) if name.endswith(".toml") else policy_by_id(name)


def protocols(policies: Iterable[Policy], *, in_force: bool) -> tuple[Protocol, ...]:
    """What is compared, in the order given; a policy or a chain named twice counts once.

    Args:
        policies: as asked for.
        in_force: of each policy, its predecessors and its successors, use the one valid on the day.
    """
    chosen = {p.id: p for p in policies}
    if not in_force:
        return tuple(Protocol(p.id, p) for p in chosen.values())
    known = {p.id: p for p in map(policy_by_id, policy_ids())} | chosen
    found: dict[tuple[str, ...], Protocol] = {}
    for policy in chosen.values():
        chain = line_of(policy, known)
        ids = tuple(p.id for p in chain)
        found.setdefault(ids, Protocol(f"in force: {' → '.join(ids)}", policy, chain))
    return tuple(found.values())
