"""Pages for people: the entrance and the policies, each on one page a pharmacist can sign off."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape

from service.alerts.policy import Policy, policy_by_id, policy_ids


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
        }
        for p in map(policy_by_id, policy_ids())
    ]


def policy_json(policy: Policy) -> bytes:
    """A policy with every value, source and confirmation."""
    return msgspec.json.encode(policy)


def _values(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every cited value of a policy with its path, in the order of the file."""
    if isinstance(node, dict):
        if "value" in node and "source" in node:
            return [(path, node)]
        return [
            item for key, child in node.items() for item in _values(child, f"{path}.{key}" if path else key)
        ]
    return []


def policy_page(policy: Policy) -> str:
    """A policy as a page: bands, schedule, missed doses, every number with its source."""
    content = msgspec.to_builtins(policy)
    sections = [
        (name, values)
        for name, node in content.items()
        if name != "sources" and (values := _values(node, ""))
    ]
    return _environment().get_template("policy.html").render(policy=policy, sections=sections)


def policies_page(policies: list[dict[str, Any]]) -> str:
    """The page at ``/policies``."""
    return _environment().get_template("policies.html").render(policies=policies)
