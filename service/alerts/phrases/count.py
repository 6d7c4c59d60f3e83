"""Blood counts in words, and offers of them, as the blood count rules share them."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import judged_kinds, preliminary_anc, without_differential
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.result import bound_of, on_day, when_of
from service.alerts.policy.parts.counts import Band
from service.alerts.policy.policy import Policy
from service.alerts.policy.words import band_title
from service.alerts.say.finding import OrderTest
from service.alerts.say.found import Fact, Text, Wish
from service.alerts.say.sentence import (
    Count,
    Counted,
    Day,
    Listed,
    Number,
    Param,
    Record,
    Sentence,
    Term,
    quoting,
    sentence,
)

#: The blood count that is offered (``knowledge/tests.toml``): only a differential gives an ANC.
CBC = "cbc-with-differential"
_NAMES = {"anc": "ANC", "wbc": "WBC"}
_STANDING = {"preliminary": "-preliminary", "corrected": "-corrected"}


def count_name(kind: str) -> Term:
    """``ANC``, ``WBC``."""
    return Term("count", kind, _NAMES.get(kind, kind))


def judged_names(case: Case) -> Listed:
    """The counts the policy judges: ``ANC``, ``WBC and ANC``."""
    return Listed(tuple(count_name(kind) for kind in reversed(judged_kinds(case))))


def count_line(case: Case, m: Measurement) -> Sentence:
    """One count as a fact for the card: value, as sent, date, how it was obtained; without full stop."""
    sort = f"{bound_of(m)}{_STANDING.get(m.status, '')}"
    return sentence(
        f"count.calculated{sort}" if m.calculated else f"count.line{sort}",
        name=count_name(m.kind),
        count=Count(m.value),
        when=when_of(case, m),
        raw=Record(m.raw),
    )


def count_fact(case: Case, m: Measurement) -> Sentence:
    """One count as a fact of its own."""
    return sentence("count.fact", line=count_line(case, m))


def count_in_band(case: Case, m: Measurement, band: Band) -> Sentence:
    """One count as a fact, with what its band is called."""
    return sentence("count.in-band", line=count_line(case, m), band=band_title(case.policy, band))


def last_usable(case: Case, m: Measurement) -> Sentence:
    """The newest count that can be used."""
    return sentence("count.last-usable", name=count_name(m.kind), line=count_line(case, m))


def last_usable_with_age(case: Case, m: Measurement) -> Sentence:
    """The newest count that can be used, and how old it is."""
    return sentence(
        "count.last-usable-old",
        name=count_name(m.kind),
        line=count_line(case, m),
        age=Counted(case.age_days(m)),
    )


def not_all_read(case: Case) -> tuple[Sentence, ...]:
    """That counts may be missing because they could not be read."""
    return () if case.snapshot.state("counts") == "complete" else (sentence("count.not-all-read"),)


def newer_may_exist(case: Case) -> tuple[Sentence, ...]:
    """The same, where a newer count would change what is said."""
    return () if case.snapshot.state("counts") == "complete" else (sentence("count.not-all-read-newer"),)


def count_evidence(case: Case, *measurements: Measurement) -> tuple[Fact, ...]:
    """Counts as evidence."""
    return tuple(Fact(m.ref, count_line(case, m), m.at, m.date_only) for m in measurements)


def short_count(case: Case, m: Measurement) -> Sentence:
    """A count for a summary: ``ANC 900/µL on 2026-11-20``."""
    standing = "-preliminary" if m.status == "preliminary" else ""
    return sentence(
        f"count.value{bound_of(m)}{standing}",
        name=count_name(m.kind),
        count=Count(m.value),
        day=on_day(case, m),
    )


def offer_cbc(case: Case, priority: str, reason: Text) -> tuple[tuple[Wish, ...], tuple[Sentence, ...]]:
    """The offer of a CBC and its step, unless one is ordered already (cds-hooks.md R5a)."""
    ordered = case.test_ordered(CBC)
    if ordered is not None:
        return (), (sentence("count.cbc-drafted") if ordered.draft else sentence("count.cbc-ordered"),)
    return (Wish(OrderTest(CBC, priority), reason),), (sentence("count.cbc-order"),)


def start_words(case: Case) -> Sentence:
    """That clozapine is being started, and when this is only a guess (clinical.md 3.6)."""
    if case.snapshot.state("medications") == "complete":
        return sentence("count.starting")
    return sentence("count.starting-as-far-as-read")


def start_line(case: Case) -> Sentence:
    """When the course began, or that nobody knows."""
    if case.starting:
        return start_words(case) if not case.restarting else sentence("count.restarting")
    if case.course.start is None:
        return sentence("count.start-unknown")
    return sentence(
        "count.course-since",
        day=Day(case.snapshot.day(case.course.start)),
        number=Number(case.course_day or 0, 0),
    )


#: What an estimated end may rest on, in words.
_LIKELY_BY = {
    "dose": "ending.likely-by-dose",
    "supply": "ending.likely-by-supply",
    "seen": "ending.likely-by-seen",
    "counts": "ending.likely-by-counts",
    "update": "ending.likely-by-update",
    "said": "ending.likely-by-said",
}
_LATEST_BY = {
    "dose": "ending.latest-by-dose",
    "supply": "ending.latest-by-supply",
    "counts": "ending.latest-by-counts",
    "update": "ending.latest-by-update",
    "said": "ending.latest-by-said",
    "next": "ending.latest-by-next",
    "validity": "ending.latest-by-validity",
    "silence": "ending.latest-by-silence",
}


def ending_lines(case: Case) -> tuple[Sentence, ...]:
    """That the end of treatment is an estimate, and what it rests on; nothing where a date is on record."""
    ending = case.course.ending
    if ending is None:
        return ()
    said: dict[str, Param] = {}
    if ending.best is not None and ending.best_by in _LIKELY_BY:
        said["likely"] = Day(case.snapshot.day(ending.best))
        said["likely_by"] = sentence(_LIKELY_BY[ending.best_by])
    latest = _LATEST_BY.get(ending.latest_by)
    if latest is None:
        return (Sentence("ending.likely-latest-today" if said else "ending.latest-today", said),)
    said |= {"latest": Day(case.snapshot.day(ending.latest)), "by": sentence(latest)}
    return (Sentence("ending.likely-latest" if "likely" in said else "ending.latest", said),)


def population_lines(case: Case) -> tuple[Sentence, ...]:
    """Which thresholds are used, and on what evidence."""
    if case.ben.confirmed:
        facts = Listed(tuple(quoting(e.text, 80) for e in case.ben.evidence[:2]))
        if not case.policy.has_ben_bands:
            return (sentence("count.ben-no-thresholds", facts=facts),)
        used = (sentence("count.ben-thresholds", facts=facts),)
        return (*used, sentence("count.ben-thresholds-open")) if _ben_is_open(case.policy) else used
    if case.ben.unconfirmed:
        return (sentence("count.ben-unconfirmed", facts=quoting(case.ben.unconfirmed[0].text, 80)),)
    return ()


def _ben_is_open(policy: Policy) -> bool:
    """A threshold for benign ethnic neutropenia is below the general one, and nobody has read it in the primary text."""
    start = policy.start
    minima = (start.ben_anc_minimum, start.ben_wbc_minimum)
    return any(m is not None and not m.confirmed for m in minima) or any(
        b.population == "ben" and not b.confirmed for b in policy.bands
    )


def pending_lines(case: Case) -> tuple[Sentence, ...]:
    """What is there of a newer count, and why it does not suffice: a CBC without a differential, a preliminary ANC."""
    lines = []
    early = preliminary_anc(case)
    if early is not None:
        lines.append(sentence("count.preliminary-does-not-replace", line=count_line(case, early)))
    wbc = without_differential(case)
    if wbc is not None and early is None:
        lines.append(sentence("count.no-differential", line=count_line(case, wbc)))
    return tuple(lines)
