"""Subscriptions on a database of each kind, with an EHR that can be read."""

from __future__ import annotations

from tests.registry.conftest import ehr, engine, site, url

__all__ = ["ehr", "engine", "site", "url"]
