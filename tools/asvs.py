"""``docs/security/asvs.md``: the checklist of OWASP ASVS 4.0.3, level 2, out of ``docs/security/asvs.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

SOURCE = Path(__file__).parents[1] / "docs/security/asvs.toml"
_CHAPTERS = {
    1: "Architecture, design and threats", 2: "Authentication", 3: "Sessions", 4: "Access control", 5: "Validation and encoding",
    6: "Stored cryptography", 7: "Errors and logging", 8: "Data protection", 9: "Communication", 10: "Malicious code", 11: "Business logic",
    12: "Files and resources", 13: "API and web service", 14: "Configuration",
}  # fmt: skip
_STATES = {"held": "held", "none": "nothing of the kind", "site": "the site's", "open": "**not held**"}


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requirements that one answer is for. ``tests``: file below tests/ and function."""

    numbers: list[str]
    about: str
    state: str
    tests: list[str] = []
    means: str = ""
    why: str = ""


class Checklist(msgspec.Struct, frozen=True):
    """The file."""

    line: list[Line]


def lines() -> list[Line]:
    """All lines. Raises msgspec.ValidationError."""
    return msgspec.convert(tomllib.loads(SOURCE.read_text(encoding="utf-8")), Checklist).line


def order(number: str) -> tuple[int, ...]:
    """Sorts 1.10.1 after 1.9.2."""
    return tuple(map(int, number.split(".")))


def page() -> str:
    """The page: a row for each requirement, in the standard's order."""
    rows = {number: line for line in lines() for number in line.numbers}
    counts = {state: sum(1 for line in rows.values() if line.state == state) for state in _STATES}
    text = [
        "# OWASP ASVS 4.0.3, level 2",
        "",
        "Every requirement of level 2 by its number, in our own words, with the tests that show it or the reason why not. Made of "
        "[asvs.toml](asvs.toml); a test sees to it that no number is missing and that every test exists.",
        "",
        f"{len(rows)} requirements: {counts['held']} held, {counts['none']} of which nothing is here, {counts['site']} that whoever runs the service "
        f"sees to, {counts['open']} not held.",
    ]
    chapter = 0
    for number in sorted(rows, key=order):
        line = rows[number]
        if order(number)[0] != chapter:
            chapter = order(number)[0]
            text += [
                "",
                f"## {chapter} {_CHAPTERS[chapter]}",
                "",
                "| | requirement | | shown by, or why |",
                "|---|---|---|---|",
            ]
        shown = [part for part in (line.means, line.why) if part]
        shown += [f"`tests/{test}`" for test in line.tests]
        text.append(f"| {number} | {line.about} | {_STATES[line.state]} | {'; '.join(shown)} |")
    return "\n".join(text) + "\n"
