"""The data files of this room, read once; what is wrong with one stops the start."""

from __future__ import annotations

import tomllib
from importlib.resources import files


class KnowledgeError(ValueError):
    """Data that cannot be used; the message names the file, the record and what was expected."""


def load(name: str) -> object:
    """The content of a data file of this room, such as ``drugs.toml``."""
    return tomllib.loads((files("service.alerts") / "knowledge" / name).read_text(encoding="utf-8"))
