"""One JSON line per event on standard output. Nothing of a patient is ever logged: no ids, no values, no tokens."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog


def configure(level: str = "info", style: str = "json") -> None:
    """Set up logging for the process. ``style``: ``json`` or ``console`` (for people)."""
    threshold = getattr(logging, level.upper())
    logging.basicConfig(
        stream=sys.stdout, level=threshold, format="%(levelname)s %(name)s %(message)s", force=True
    )
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # its lines hold addresses; ours say more
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold URLs with patient ids
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "console":
        structlog.configure(
            processors=[*processors, structlog.dev.ConsoleRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            cache_logger_on_first_use=False,
        )
        return
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=False,
    )
