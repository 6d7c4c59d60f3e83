"""Results arrive at a database of its own kind: SQLite and a real PostgreSQL."""

from __future__ import annotations

from tests.registry.conftest import engine, site, url

__all__ = ["engine", "site", "url"]
