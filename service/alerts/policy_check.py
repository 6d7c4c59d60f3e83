"""Checks of a policy file beyond its shape: gaps, overlaps, missing references, bands and phases that nothing can reach."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from service.alerts.policy import Analyte, Policy, Population


def problems(policy: Policy) -> list[str]:
    """What is wrong with a policy, one sentence each; empty when it can be used."""
    return [*_bands(policy), *_schedule(policy), *_tiers(policy), *_references(policy), *_validity(policy)]


def unconfirmed(policy: Policy) -> list[str]:
    """Paths of the values that no primary text has confirmed."""
    return [path for path, node in _cited(msgspec.to_builtins(policy)) if node.get("confirmed") is False]


def _bands(policy: Policy) -> list[str]:
    found: list[str] = []
    populations: tuple[Population, ...] = ("general", "ben")
    analytes: tuple[Analyte, ...] = ("anc", "wbc")
    for population in populations:
        for analyte in analytes:
            bands = [b for b in policy.bands if b.population == population and b.analyte == analyte]
            if not bands:
                if population == "general" and analyte == "anc":
                    found.append("bands: there are none for the ANC of the general population")
                continue
            where = f"bands, {population}, {analyte.upper()}"
            ordered = sorted(bands, key=lambda b: b.at_least)
            if ordered[0].at_least != 0:
                found.append(f"{where}: counts below {ordered[0].at_least:g} are in no band")
            for lower, upper in pairwise(ordered):
                if lower.below is None or lower.below > upper.at_least:
                    found.append(f"{where}: {lower.name!r} and {upper.name!r} overlap at {upper.at_least:g}")
                elif lower.below < upper.at_least:
                    found.append(f"{where}: counts from {lower.below:g} to {upper.at_least:g} are in no band")
            if ordered[-1].below is not None:
                found.append(f"{where}: counts of {ordered[-1].below:g} and more are in no band")
            for band in bands:
                if band.below is not None and band.below <= band.at_least:
                    found.append(
                        f"{where}: {band.name!r} cannot be reached: no count is at least {band.at_least:g} and below {band.below:g}"
                    )
                if (band.finding is None) != (band.severity is None):
                    found.append(f"{where}: {band.name!r} needs a finding and a severity, or neither")
                if band.finding is not None and band.every_days is None and band.treatment == "continue":
                    found.append(f"{where}: {band.name!r} does not say how often to sample")
    return found


def _schedule(policy: Policy) -> list[str]:
    found: list[str] = []
    if not policy.schedule:
        return ["schedule: there is no phase"]
    last = 0
    for index, phase in enumerate(policy.schedule):
        if phase.every_days <= 0:
            found.append(f"schedule: {phase.label!r} has an interval of {phase.every_days} days")
        if phase.until_day is None:
            if index != len(policy.schedule) - 1:
                found.append(f"schedule: nothing after {phase.label!r} can be reached, it has no end")
        elif phase.until_day <= last:
            found.append(
                f"schedule: {phase.label!r} cannot be reached, it ends on day {phase.until_day} and the one before on {last}"
            )
        last = phase.until_day or last
    if policy.schedule[-1].until_day is not None:
        found.append(f"schedule: nothing applies from day {policy.schedule[-1].until_day} on")
    return found


def _tiers(policy: Policy) -> list[str]:
    found: list[str] = []
    for tier in policy.missed_dose:
        by_share = tier.percent_low is not None and tier.percent_high is not None
        if by_share == (tier.single_mg is not None):
            found.append(
                f"missed_dose: {tier.name!r} needs a share of the dose (percent_low, percent_high) or single_mg"
            )
    gaps = [t.gap.value for t in policy.missed_dose]
    if gaps != sorted(gaps):
        found.append("missed_dose: the tiers must be ordered by their gap")
    return found


def _cited(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every table that names a source, with its path."""
    if isinstance(node, dict):
        here = [(path, node)] if "source" in node else []
        return here + [
            item
            for key, child in node.items()
            if key != "sources"
            for item in _cited(child, f"{path}.{key}" if path else key)
        ]
    if isinstance(node, list | tuple):
        return [
            item
            for index, child in enumerate(node)
            for item in _cited(
                child,
                f"{path}[{child.get('name') or child.get('id') or index if isinstance(child, dict) else index}]",
            )
        ]
    return []


def _references(policy: Policy) -> list[str]:
    return [
        f"{path}: the source {node['source']!r} is not in [sources]"
        for path, node in _cited(msgspec.to_builtins(policy))
        if node["source"] not in policy.sources
    ]


def _validity(policy: Policy) -> list[str]:
    if policy.valid_to is not None and policy.valid_to <= policy.valid_from:
        return [f"valid_to: {policy.valid_to} is not after valid_from {policy.valid_from}"]
    return []
