"""Checks of a policy file beyond its shape: gaps, overlaps, missing references, bands, phases and tiers that nothing can reach."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from service.alerts.knowledge.classes import classes
from service.alerts.policy.numbers import name_of
from service.alerts.policy.parts.breaks import MissedDoseTier
from service.alerts.policy.parts.counts import Analyte, Band, Population
from service.alerts.policy.policy import Policy, PolicyError, load_policy, policy_by_id, policy_ids
from service.alerts.policy.said_interval import differs
from service.alerts.say.finding_codes import check_finding_codes

_POPULATIONS: tuple[Population, ...] = ("general", "ben")
_ANALYTES: tuple[Analyte, ...] = ("anc", "wbc")


def problems(policy: Policy) -> list[str]:
    """What is wrong with a policy, one sentence each; empty when it can be used."""
    return [
        problem
        for check in (
            _bands,
            _start,
            _schedule,
            _tiers,
            _breaks,
            _supply,
            _other_counts,
            _references,
            _left_to_ehr,
            _validity,
        )
        for problem in check(policy)
    ]


def load_sound(path: Path) -> Policy:
    """A policy file that can be used: a count that falls into a gap would be judged by nobody. Raises PolicyError."""
    policy = load_policy(path)
    if wrong := problems(policy):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise PolicyError(
            f"{path} cannot be used: {wrong[0]}{more}; run clozapine-cds policy validate {path}"
        )
    return policy


def find_policy(policy: str | Path) -> Policy:
    """A shipped policy by its id, or a sound one of a ``.toml`` file. Raises PolicyError."""
    name = str(policy)
    if name in policy_ids():
        return policy_by_id(name)
    if name.endswith(".toml"):
        return load_sound(Path(name))
    raise PolicyError(f"{name!r} is neither a shipped policy ({', '.join(policy_ids())}) nor a .toml file")


def cited(policy: Policy) -> list[tuple[str, dict[str, Any]]]:
    """(path, plain data) of everything in a policy that names a source."""
    return _cited(msgspec.to_builtins(policy))


def unconfirmed(policy: Policy) -> list[str]:
    """Paths of the values that no primary text has confirmed."""
    found = [path for path, node in cited(policy) if node.get("confirmed") is False]
    if policy.dispensing.supply_by_interval and not policy.dispensing.supply_confirmed:
        found.append("dispensing.supply_by_interval")
    return found


def _bands(policy: Policy) -> Iterator[str]:
    for population in _POPULATIONS:
        for analyte in _ANALYTES:
            bands = [b for b in policy.bands if b.population == population and b.analyte == analyte]
            where = f"bands, {population}, {analyte.upper()}"
            if not bands and population == "general" and analyte != "anc" and _judged(policy, analyte):
                yield f"{where}: there are bands for benign ethnic neutropenia alone; everybody else's counts would be judged by none"
            if bands:
                yield from _ladder(where, sorted(bands, key=lambda b: (b.at_least, b.below or 0)))
                for band in bands:
                    yield from _band(where, band)
            elif population == "general" and analyte == "anc":
                yield "bands: there are none for the ANC of the general population"
            elif population == "ben" and policy.has_ben_bands and _judged(policy, analyte):
                yield f"{where}: there are none, though the other count has some; the general ones would be used"


def _judged(policy: Policy, analyte: Analyte) -> bool:
    return any(b.analyte == analyte for b in policy.bands)


def _ladder(where: str, ordered: list[Band]) -> Iterator[str]:
    lowest, highest = ordered[0], ordered[-1]
    if lowest.at_least != 0 or not lowest.lower_bound_belongs:
        yield f"{where}: counts below {lowest.at_least:g} are in no band"
    for lower, upper in pairwise(ordered):
        if lower.below is None or lower.below > upper.at_least:
            yield f"{where}: {lower.name!r} and {upper.name!r} overlap at {upper.at_least:g}"
        elif lower.below < upper.at_least:
            yield f"{where}: counts from {lower.below:g} to {upper.at_least:g} are in no band"
        elif lower.upper_bound_belongs and upper.lower_bound_belongs:
            yield f"{where}: {lower.name!r} and {upper.name!r} overlap at exactly {upper.at_least:g}"
        elif not lower.upper_bound_belongs and not upper.lower_bound_belongs:
            yield f"{where}: a count of exactly {upper.at_least:g} is in no band"
    if highest.below is not None:
        yield f"{where}: counts of {highest.below:g} and more are in no band"
    if highest.finding is not None or highest.rechallenge:
        yield f"{where}: the highest band, {highest.name!r}, must be the normal one: no finding, rechallenge allowed"


def _band(where: str, band: Band) -> Iterator[str]:
    if band.finding is not None:
        try:
            check_finding_codes([band.finding])
        except ValueError as error:
            yield f"{where}: {band.name!r}: finding: {error}"
    if band.below is not None and band.below <= band.at_least:
        yield (
            f"{where}: {band.name!r} cannot be reached: no count is at least {band.at_least:g} and below {band.below:g}"
        )
    if (band.finding is None) != (band.severity is None):
        yield f"{where}: {band.name!r} needs a finding and a severity, or neither"
    if band.finding is not None and band.every_days is None and band.treatment == "continue":
        yield f"{where}: {band.name!r} does not say how often to sample"
    if band.finding is None and band.treatment != "continue":
        yield f"{where}: {band.name!r} stops clozapine, but has no finding to say so"
    if band.finding is not None and not band.steps:
        yield f"{where}: {band.name!r} does not say what to do (steps)"
    for key in ("every", "confirmed_every"):
        days, label = getattr(band, f"{key}_days"), getattr(band, f"{key}_label")
        if days is not None and days <= 0:
            yield f"{where}: {band.name!r} has an interval that is not positive"
        elif days is not None and differs(label, days):
            yield f"{where}: {band.name!r} says {label!r} ({key}_label), but {key}_days is {days}"
    if band.stop_when_confirmed and (band.treatment == "continue" or band.confirm_within_hours is None):
        yield (
            f"{where}: {band.name!r} stops when confirmed: it needs a treatment that stops and confirm_within_hours"
        )
    recovery = band.recovery
    if recovery is not None and recovery.kind != "new-patient" and recovery.every_days <= 0:
        yield f"{where}: the recovery of {band.name!r} does not say how often to sample (every_days)"
    if recovery is not None and recovery.kind == "extra-counts" and recovery.counts <= 0:
        yield f"{where}: the recovery of {band.name!r} does not say how many counts"


def _start(policy: Policy) -> Iterator[str]:
    for population in _POPULATIONS:
        for analyte in _ANALYTES:
            where = f"start, {population}, {analyte.upper()}"
            minimum = policy.start.minimum(population, analyte)
            if minimum is None:
                if _judged(policy, analyte):
                    yield f"{where}: the policy judges this count, but has no minimum to start"
                continue
            if not _judged(policy, analyte):
                yield f"{where}: there is a minimum to start, but no band judges this count"
                continue
            band = policy.band(population, analyte, minimum.value)
            if band is not None and minimum.comparator == ">" and not band.finding:
                continue
            if minimum.comparator == ">" and band is not None and band.upper_bound_belongs:
                band = next(
                    (b for b in policy.bands_of(population, analyte) if b.at_least == minimum.value), band
                )
            if band is not None and band.finding is not None:
                yield f"{where}: treatment could start at {minimum.value:g} in the band {band.name!r}"
    has_minimum = policy.start.ben_anc_minimum is not None
    if has_minimum != policy.has_ben_bands:
        yield (
            "start: ben_anc_minimum and bands for benign ethnic neutropenia belong together, and only one is there"
        )


def _schedule(policy: Policy) -> Iterator[str]:
    if not policy.schedule:
        yield "schedule: there is no phase"
        return
    last = 0
    conditional = ""
    for index, phase in enumerate(policy.schedule):
        if phase.every_days <= 0:
            yield f"schedule: {phase.label!r} has an interval of {phase.every_days} days"
        elif differs(phase.label, phase.every_days):
            yield f"schedule: {phase.label!r} says another interval than its every_days, {phase.every_days}"
        if phase.until_day is None:
            if index != len(policy.schedule) - 1:
                yield f"schedule: nothing after {phase.label!r} can be reached, it has no end"
        elif phase.until_day <= last:
            yield f"schedule: {phase.label!r} cannot be reached, it ends on day {phase.until_day} and the one before on {last}"
        if phase.needs_no_neutropenia:
            conditional = conditional or phase.label
            if index == 0:
                yield f"schedule: {phase.label!r} comes first, so nothing applies after a neutropenia"
        elif conditional:
            yield f"schedule: {phase.label!r} cannot be reached after a neutropenia, it follows {conditional!r}"
        last = phase.until_day or last
    if policy.schedule[-1].until_day is not None:
        yield f"schedule: nothing applies from day {policy.schedule[-1].until_day} on"


def _tiers(policy: Policy) -> Iterator[str]:
    for tier in policy.missed_dose:
        by_share = tier.percent_low is not None and tier.percent_high is not None
        if by_share == (tier.single_mg is not None):
            yield f"missed_dose: {tier.name!r} needs a share of the dose (percent_low, percent_high) or single_mg"
        if tier.percent_low is not None and (tier.percent_high or 0) < tier.percent_low:
            yield f"missed_dose: {tier.name!r} has a percent_high below its percent_low"
        if tier.single_mg is not None and (tier.mg_per_day or tier.single_mg) < tier.single_mg:
            yield f"missed_dose: {tier.name!r} allows less a day than in a single dose"
    for shorter, longer in pairwise(policy.missed_dose):
        if shorter.gap.value > longer.gap.value:
            yield "missed_dose: the tiers must be ordered by their gap"
        elif _never_reached(shorter, longer):
            yield f"missed_dose: {shorter.name!r} cannot be reached, {longer.name!r} begins with it"


def _never_reached(shorter: MissedDoseTier, longer: MissedDoseTier) -> bool:
    if longer.plus_dosing_interval and not shorter.plus_dosing_interval:
        return False
    if shorter.plus_dosing_interval and not longer.plus_dosing_interval:
        return shorter.gap.value >= longer.gap.value
    return shorter.gap.value == longer.gap.value and not (
        shorter.gap.comparator == ">=" and longer.gap.comparator == ">"
    )


def _breaks(policy: Policy) -> Iterator[str]:
    limit, extra = policy.interruption.new_course, policy.interruption.extra
    if limit.value <= 0:
        yield "interruption.new_course: a break of no days cannot begin a new course"
    if (policy.interruption.exempt_after_days is None) != (not policy.interruption.exempt_says):
        yield "interruption.exempt_after_days: it needs exempt_says, the words on the card, and these need it"
    if extra is None:
        return
    if extra.gap.value >= limit.value * 24:
        yield "interruption.extra: it cannot be reached, a break as long as its gap begins a new course"
    if all(p.every_days <= extra.every_days.value for p in policy.schedule):
        yield "interruption.extra: it changes nothing, the schedule never asks for fewer counts"
    if extra.weeks.value <= 0 or extra.every_days.value <= 0:
        yield "interruption.extra: every_days and weeks must be positive"


def _supply(policy: Policy) -> Iterator[str]:
    dispensing = policy.dispensing
    phases = {p.every_days for p in policy.schedule}
    known = (
        phases
        | {b.every_days for b in policy.bands}
        | {b.recovery.every_days for b in policy.bands if b.recovery}
    )
    for interval, days in dispensing.supply_by_interval:
        if interval not in known:
            yield f"dispensing.supply_by_interval: no phase or band counts every {interval} days"
        if days <= 0:
            yield f"dispensing.supply_by_interval: {days} days' supply for a count every {interval} days"
    if dispensing.supply_by_interval:
        for interval in sorted(phases - {i for i, _ in dispensing.supply_by_interval}):
            yield f"dispensing.supply_by_interval: nothing is said for a count every {interval} days"
        if dispensing.supply_source not in policy.sources:
            yield f"dispensing.supply_by_interval: the source {dispensing.supply_source!r} is not in [sources]"


def _other_counts(policy: Policy) -> Iterator[str]:
    fall, eosinophils, fever = policy.falling, policy.eosinophils, policy.fever
    if (fall.anc_fall or fall.anc_fall_percent) and fall.anc_below is None:
        yield "falling: a fall of the ANC needs anc_below"
    if fall.wbc_fall is None and fall.wbc_below is not None:
        yield "falling: wbc_below needs wbc_fall"
    if fall.wbc_fall is not None and not policy.uses_wbc:
        yield "falling: wbc_fall is there, but no band judges the WBC"
    if fall.every_days is not None and not fall.every_label:
        yield "falling: every_days needs every_label, the words on the card"
    if eosinophils.restart_below is not None and eosinophils.restart_below.value > eosinophils.high.value:
        yield "eosinophils: restart_below is above high, so a count could stop and allow clozapine at once"
    if fever.early_threshold.value > fever.threshold.value:
        yield "fever: early_threshold is above threshold and cannot be reached"


def _cited(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every table that names a source, with its path."""
    if isinstance(node, dict):
        here = [(path, node)] if "source" in node else []
        return here + [
            item
            for key, child in node.items()
            if key not in ("sources", "earlier")
            for item in _cited(child, f"{path}.{key}" if path else key)
        ]
    if isinstance(node, list | tuple):
        return [
            item
            for index, child in enumerate(node)
            for item in _cited(
                child,
                f"{path}[{name_of(child) or index if isinstance(child, dict) else index}]",
            )
        ]
    return []


def _references(policy: Policy) -> Iterator[str]:
    for path, node in cited(policy):
        if node["source"] not in policy.sources:
            yield f"{path}: the source {node['source']!r} is not in [sources]"
    if policy.main_source and policy.main_source not in policy.sources:
        yield f"main_source: the source {policy.main_source!r} is not in [sources]"


def _left_to_ehr(policy: Policy) -> Iterator[str]:
    """CYP1A2, smoking, inducers, marrow and depots are no pairs that another checker may be left with."""
    known = classes()
    may = sorted(c.id for c in known.values() if c.may_be_left)
    for class_id in policy.interactions.left_to_ehr:
        if class_id not in known:
            yield f"interactions.left_to_ehr: {class_id!r} is no class of interactions; it may name {', '.join(may)}"
        elif not known[class_id].may_be_left:
            yield f"interactions.left_to_ehr: {class_id!r} is for this service to tell; it may name {', '.join(may)}"


def _validity(policy: Policy) -> Iterator[str]:
    if policy.valid_to is not None and policy.valid_to <= policy.valid_from:
        yield f"valid_to: {policy.valid_to} is not after valid_from {policy.valid_from}"
    if not policy.superseded_by:
        return
    if policy.valid_to is None:
        yield f"superseded_by: {policy.superseded_by!r} follows, but valid_to is missing"
    try:
        successor = policy_by_id(policy.superseded_by)
    except PolicyError:
        yield f"superseded_by: {policy.superseded_by!r} is not a shipped policy ({', '.join(policy_ids())})"
        return
    if policy.valid_to is not None and successor.valid_from != policy.valid_to:
        yield f"superseded_by: {successor.id!r} is valid from {successor.valid_from}, this policy to {policy.valid_to}"
