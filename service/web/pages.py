"""Pages for people: the entrance and the policies, each on one page a pharmacist can sign off."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape

from service.alerts.policy.patient_sheet import patient_sheet
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.alerts.policy.reference import confirmed_words, reference_only, reference_words
from service.alerts.policy.sheet import in_force, sheet


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("service"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )


def entrance(site_policy: Policy, base_url: str) -> str:
    """The page at ``/``."""
    return _environment().get_template("entrance.html").render(policy=site_policy, base_url=base_url)


def policy_list() -> list[dict[str, Any]]:
    """Every shipped policy, briefly."""
    return [
        {
            "id": p.id,
            "title": p.title,
            "jurisdiction": p.jurisdiction,
            "validFrom": p.valid_from.isoformat(),
            "validTo": p.valid_to.isoformat() if p.valid_to else None,
            "summary": p.summary,
            "referenceOnly": list(reference_only(p)),
        }
        for p in map(policy_by_id, policy_ids())
    ]


def policy_json(policy: Policy) -> bytes:
    """A policy with every value, source and confirmation."""
    return msgspec.json.encode(policy)


def policy_page(policy: Policy) -> str:
    """A policy as a page: bands, schedule, missed doses, every number with its source."""
    return (
        _environment()
        .get_template("policy.html")
        .render(
            policy=policy,
            in_force=in_force(policy),
            tables=sheet(policy),
            reference=reference_words(policy),
            confirmed=[confirmed_words(c) for c in policy.confirmations],
        )
    )


def patient_json(policy: Policy) -> bytes:
    """The sheet for the patient, every line with what it rests on."""
    sections = patient_sheet(policy)
    return msgspec.json.encode(
        {"policy": policy.id, "referenceOnly": list(reference_only(policy)), "sections": sections}
    )


def patient_page(policy: Policy) -> str:
    """The sheet for the patient, to print; what it rests on stands on the screen only."""
    sections = patient_sheet(policy)
    return (
        _environment()
        .get_template("patient.html")
        .render(
            policy=policy,
            sections=sections,
            number_open=any(line.number_open for section in sections for line in section.lines),
            reference=reference_words(policy),
        )
    )


def policies_page(policies: list[dict[str, Any]]) -> str:
    """The page at ``/policies``."""
    return _environment().get_template("policies.html").render(policies=policies)
