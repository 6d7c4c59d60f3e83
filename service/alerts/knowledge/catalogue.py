"""What cards offer: orderable tests, referrals and override reasons (``knowledge/tests.toml``, ``knowledge/overrides.toml``)."""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load


class OrderableTest(Struct, frozen=True):
    """A test that can be ordered: by LOINC code, or by text where no single code fits."""

    title: str
    code: str = ""
    display: str = ""
    text: str = ""


class Referral(Struct, frozen=True):
    """A service to consult."""

    title: str


class OverrideReason(Struct, frozen=True):
    """A reason for not following a card; ``system`` is empty for a code of this service."""

    system: str
    code: str
    display: str


class _Tests(Struct):
    test: dict[str, OrderableTest]
    referral: dict[str, Referral]


class _Reason(Struct):
    system: str
    display: str


class _Overrides(Struct):
    system: dict[str, str]
    reason: dict[str, _Reason]
    set: dict[str, tuple[str, ...]]


@cache
def _tests() -> _Tests:
    return msgspec.convert(load("tests.toml"), _Tests)


def test(test_id: str) -> OrderableTest:
    """An orderable test by id. Raises KeyError for an unknown one (a fault of the data)."""
    return _tests().test[test_id]


def test_ids() -> tuple[str, ...]:
    """Every test that can be offered."""
    return tuple(_tests().test)


@cache
def tests_by_text() -> dict[str, str]:
    """Words of an order in lower case -> id of the test: what this service itself suggests is recognised once it is ordered."""
    known = _tests().test.items()
    return {words.lower(): key for key, t in known for words in (t.title, t.text, t.display) if words}


def referral(specialty: str) -> Referral:
    """A service to consult by id."""
    return _tests().referral[specialty]


def referral_ids() -> tuple[str, ...]:
    """Every service that can be consulted."""
    return tuple(_tests().referral)


def reason_sets() -> tuple[str, ...]:
    """Ids of the sets of override reasons."""
    return tuple(_overrides().set)


@cache
def _overrides() -> _Overrides:
    return msgspec.convert(load("overrides.toml"), _Overrides)


@cache
def override_reasons(set_id: str) -> tuple[OverrideReason, ...]:
    """The override reasons of a set, in the order they are shown."""
    data = _overrides()
    return tuple(
        OverrideReason(data.system[data.reason[code].system], code, data.reason[code].display)
        for code in data.set[set_id]
    )


def every_reason() -> tuple[OverrideReason, ...]:
    """Every override reason."""
    data = _overrides()
    return tuple(OverrideReason(data.system[r.system], code, r.display) for code, r in data.reason.items())


@cache
def offered_reasons() -> frozenset[str]:
    """Codes of every override reason that any card offers."""
    return frozenset(_overrides().reason)
