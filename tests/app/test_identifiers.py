"""UUIDs of cards and suggestions are real ones, and never the same twice."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from service.hooks.identifiers import Identifiers


def test_identifiers_are_random_uuids() -> None:
    supply = Identifiers()
    made = [supply.new() for _ in range(2000)]
    assert len(set(made)) == len(made)
    for text in made:
        parsed = UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, RFC_4122)
    # Every variant digit and every random nibble occurs: nothing else is fixed.
    assert {text[19] for text in made} == set("89ab")
    free = [i for i in range(36) if i not in (8, 13, 14, 18, 19, 23)]
    assert all({text[i] for text in made} == set("0123456789abcdef") for i in free)
