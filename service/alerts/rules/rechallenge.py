"""Clozapine after what once forbade it (clinical.md 2.1, 2.6): a severe neutropenia, or a myocarditis or cardiomyopathy under it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from service.alerts.case.agranulocytosis import agranulocytosis_now
from service.alerts.case.case import Case
from service.alerts.case.earlier_lows import is_forbidden, low_counts
from service.alerts.case.myocarditis import HEART_PROBLEMS, heart_citation, taken_before
from service.alerts.case.onset import in_course, is_recent_problem
from service.alerts.facts.patient import Problem
from service.alerts.phrases.count import count_evidence, count_fact, count_in_band, offer_cbc, short_count
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.problem import problem_evidence
from service.alerts.phrases.result import day_of
from service.alerts.policy.words import band_says
from service.alerts.rules.asked import when
from service.alerts.say.finding import ReferTo
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Param, Record, Sentence, as_recorded, sentence

#: Characters of a problem in a summary.
_SHORT = 40


class _Problems(Struct, frozen=True, gc=False):
    """What the problem list tells against another try."""

    blood: tuple[Problem, ...]
    heart: tuple[Problem, ...]
    #: Of the heart, what goes on now and arose in this course.
    active: tuple[Problem, ...]


@when("abnormal-count", "problems")
@when("drafted")
def rechallenge_caution(case: Case) -> Iterator[Found]:
    """Clozapine is drafted in a patient with severe neutropenia or myocarditis in the record."""
    if not case.clozapine_drafts:
        return
    low, band = low_counts(case)
    problems = _problems(case)
    active, heart = problems.active, problems.heart
    # What goes on in the blood is told where no low count and no heart problem says more.
    going_on = () if active or low else agranulocytosis_now(case)
    listed = tuple(dict.fromkeys((*active, *going_on, *problems.blood, *heart)))
    if not low and not listed:
        return
    of_blood = bool(low or problems.blood)
    if of_blood:
        band = band or next((b for b in case.policy.bands_of(case.population, "anc") if b.rechallenge), None)
    never = of_blood and is_forbidden(band)
    counts = tuple(short_count(case, c.count) for c in low)
    count_now, counting = (
        offer_cbc(case, "stat", sentence("rechallenge-caution.reason-blood")) if going_on else ((), ())
    )
    seen = tuple(_short_problem(case, p) for p in listed)
    yield Found(
        code="rechallenge-caution",
        severity="critical",
        subject="rechallenge",
        summary=sentence("rechallenge-caution.active-blood", seen=seen[0])
        if going_on
        else _summary(seen + counts if active else counts + seen, active=bool(active), never=never),
        why=(
            *(
                count_in_band(case, c.count, c.band) if c.band is not None else count_fact(case, c.count)
                for c in low
            ),
            *(_problem_line(case, p) for p in listed),
        ),
        policy_says=(
            *((sentence("rechallenge-caution.policy-heart"),) if heart else ()),
            *((band_says(case.policy, band),) if band is not None else ()),
        ),
        suggested=(
            *((sentence("rechallenge-caution.stop"),) if active or going_on else ()),
            *counting,
            _ask(bool(heart), of_blood, at_once=bool(active or going_on)),
            *(
                (
                    sentence("rechallenge-caution.heart-tests"),
                    sentence("rechallenge-caution.close-problem"),
                )
                if active
                else ()
            ),
            sentence(
                "rechallenge-caution.no-other-try"
                if never
                else "rechallenge-caution.close-problem"
                if going_on
                else "rechallenge-caution.document"
            ),
        ),
        evidence=(*count_evidence(case, *(c.count for c in low)), *problem_evidence(listed)),
        citation=heart_citation(case)
        if active or not of_blood
        else case.policy.cite(band)
        if band is not None
        else case.policy.citation,
        offers=(
            *remove_drafts(case),
            *count_now,
            *(
                (Wish(ReferTo("cardiology", "stat"), sentence("rechallenge-caution.reason-heart")),)
                if active
                else ()
            ),
        ),
        overrides="general" if active else "counts",
    )


def _problems(case: Case) -> _Problems:
    blood = case.problems_of("agranulocytosis-history", history=True)
    # Fever in neutropenia that is over was a severe neutropenia; while it lasts neutropenic-fever says more.
    blood += tuple(
        p
        for p in case.problems_of("neutropenic-fever", history=True)
        if taken_before(case, p)
        and (
            p not in case.problems_of("neutropenic-fever")
            or (p.onset is not None and not is_recent_problem(case, p))
        )
    )
    heart = tuple(p for p in case.problems_of(*HEART_PROBLEMS, history=True) if taken_before(case, p))
    # One from before this course was weighed when clozapine was begun again.
    active = tuple(p for p in case.problems_of(*HEART_PROBLEMS) if p in heart and in_course(case, p))
    # What goes on now comes first: nothing that is over is as urgent.
    return _Problems(blood, tuple(dict.fromkeys((*active, *heart))), active)


def _summary(seen: tuple[Sentence, ...], *, active: bool, never: bool) -> Sentence:
    """The gravest of what was seen, and what follows from it."""
    first, more = seen[0], len(seen) > 1
    if active:
        id = "rechallenge-caution.active-and-more" if more else "rechallenge-caution.active"
    elif never:
        id = "rechallenge-caution.never-and-more" if more else "rechallenge-caution.never"
    else:
        id = "rechallenge-caution.weigh-and-more" if more else "rechallenge-caution.weigh"
    return sentence(id, seen=first)


def _ask(heart: bool, blood: bool, *, at_once: bool) -> Sentence:
    """Whom to ask, and when."""
    who = "both" if heart and blood else "cardiologist" if heart else "hematologist"
    return sentence(f"rechallenge-caution.ask-{who}-{'at-once' if at_once else 'before'}")


def _short_problem(case: Case, p: Problem) -> Sentence:
    """A problem for a summary."""
    label = as_recorded(p.name, short=_SHORT)
    if p.onset is None:
        return sentence("rechallenge-caution.problem", problem=label)
    return sentence(
        "rechallenge-caution.problem-since", problem=label, day=day_of(case, p.onset, p.onset_until)
    )


def _problem_line(case: Case, p: Problem) -> Sentence:
    """A problem as a fact for the card."""
    said: dict[str, Param] = {"problem": as_recorded(p.name)}
    since = unsure = ""
    if p.onset is not None:
        said["day"], since = day_of(case, p.onset, p.onset_until), "-since"
    if p.verification not in ("", "confirmed"):
        said["verification"], unsure = Record(p.verification), "-unsure"
    return Sentence(f"rechallenge-caution.listed{since}{unsure}", said)


RULES = (rechallenge_caution,)
