"""Services and the discovery document (cds-hooks checklist D1–D8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from cds_hooks.card import Response
from cds_hooks.context import HOOKS, Hook
from cds_hooks.prefetch import check_template
from cds_hooks.request import HookRequest

#: Version of the CDS Hooks specification this package implements.
VERSION = "3.0.0"
Handler = Callable[[HookRequest], Awaitable[Response]]


class Service(Struct, frozen=True, kw_only=True):
    """One CDS service: one hook, one id."""

    id: str
    hook: str
    title: str
    description: str
    handler: Handler
    #: msgspec type of its prefetch values (``None`` for null belongs to it): read together with the call. Raw: handed over as they come.
    reads: Any = Raw
    prefetch: Mapping[str, str] = {}
    usage_requirements: str = ""

    def __post_init__(self) -> None:
        if self.hook not in HOOKS:
            raise ValueError(f"unknown hook {self.hook!r}")
        for template in self.prefetch.values():
            check_template(template)

    @property
    def definition(self) -> Hook:
        """The hook this service answers."""
        return HOOKS[self.hook]


class _Entry(Struct, omit_defaults=True):
    hook: str
    title: str
    description: str
    id: str
    version: str | None = None
    hookVersion: str | None = None
    usageRequirements: str = ""
    prefetch: dict[str, str] = {}


def discovery_document(services: Sequence[Service]) -> bytes:
    """Body of ``GET {base}/cds-services``."""
    entries = [
        _Entry(
            hook=s.hook,
            title=s.title,
            description=s.description,
            id=s.id,
            version=VERSION,
            hookVersion=s.definition.version,
            usageRequirements=s.usage_requirements,
            prefetch=dict(s.prefetch),
        )
        for s in services
    ]
    return msgspec.json.encode({"services": entries})
