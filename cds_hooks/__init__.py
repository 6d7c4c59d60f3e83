"""CDS Hooks 3.0 for a service, readable by 2.0 clients: discovery, requests, prefetch, cards, feedback, errors.

The package knows the protocol and no medicine; it can be used on its own (see README.md beside it).
"""

from cds_hooks.auth import Authenticator, Client
from cds_hooks.card import Action, Card, Coding, Link, Response, Source, Suggestion
from cds_hooks.context import HOOKS, Context, Hook
from cds_hooks.discovery import VERSION, Service
from cds_hooks.elsewhere import Elsewhere, Heard
from cds_hooks.errors import BadRequest, PreconditionFailed, ProtocolError, operation_outcome
from cds_hooks.feedback import Feedback, OverrideReason
from cds_hooks.keys import CachedKeys
from cds_hooks.limits import Limits
from cds_hooks.request import FhirAuthorization, HookRequest
from cds_hooks.router import cds_routes
from cds_hooks.token_use import MemoryReplays, Replays
from cds_hooks.unjudged import Failure, Fallback

__all__ = [
    "HOOKS",
    "VERSION",
    "Action",
    "Authenticator",
    "BadRequest",
    "CachedKeys",
    "Card",
    "Client",
    "Coding",
    "Context",
    "Elsewhere",
    "Failure",
    "Fallback",
    "Feedback",
    "FhirAuthorization",
    "Heard",
    "Hook",
    "HookRequest",
    "Limits",
    "Link",
    "MemoryReplays",
    "OverrideReason",
    "PreconditionFailed",
    "ProtocolError",
    "Replays",
    "Response",
    "Service",
    "Source",
    "Suggestion",
    "cds_routes",
    "operation_outcome",
]
