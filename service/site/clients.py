"""Who may use the registry's routes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RegistryClient(BaseModel):
    """Somebody who may use the registry: a bearer token, kept as its SHA-256, with sites and a role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    #: ``printf %s TOKEN | sha256sum``
    token_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    #: Sites whose patients are visible; empty = all.
    sites: tuple[str, ...] = ()
    #: ``sender`` only brings results, ``viewer`` reads, ``clinician`` also flags and closes, ``admin`` also merges, takes off and deletes.
    role: Literal["sender", "viewer", "clinician", "admin"] = "viewer"
