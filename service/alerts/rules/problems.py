"""Problems, allergies, pregnancy and age that speak against clozapine (clinical.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.abnormal_band import abnormal_band
from service.alerts.case.agranulocytosis import AGRANULOCYTOSIS, agranulocytosis_now
from service.alerts.case.allergies import clozapine_allergies
from service.alerts.case.bowel import BLOCKED_BOWEL
from service.alerts.case.case import Case
from service.alerts.case.myocarditis import HEART_PROBLEMS, myocarditis_now
from service.alerts.case.onset import latest_known
from service.alerts.case.pregnancy import Pregnancy, pregnancy_now
from service.alerts.case.seizures import UNCONTROLLED
from service.alerts.case.standing import is_new, is_told, raises_dose
from service.alerts.facts.patient import CodedResult, Problem
from service.alerts.knowledge.conditions import contraindications
from service.alerts.phrases.allergy import allergy_evidence, allergy_told
from service.alerts.phrases.count import last_usable, offer_cbc
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.problem import problem_evidence, problem_line, problem_name
from service.alerts.phrases.result import day_of
from service.alerts.policy.words import band_says
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.say.finding import Citation, Offer, ReferTo, Severity, worst
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import Number, Record, Sentence, Term, recorded, sentence

#: An obstructed bowel has a rule of its own, with more to say: gi-hypomotility.
_SAID_ELSEWHERE = frozenset({BLOCKED_BOWEL})
_SUMMARY_2026 = "Treatment-resistant schizophrenia and clozapine management (clinical summary)"


@when_it_bears
@when("problems")
@when(*RELEVANT)
def contraindication_condition(case: Case) -> Iterator[Found]:
    """Active problems that contraindicate clozapine or call for caution: all on one card, the worst first."""
    known = contraindications()
    if not case.has_problems(known) or not case.relevant:
        return
    region = case.policy.interactions.severity_region
    going_on = () if case.clozapine_drafts else agranulocytosis_now(case)
    if going_on:
        yield from _agranulocytosis(case, going_on)
    said = frozenset((*myocarditis_now(case), *going_on))  # myocarditis-suspected says it
    found: list[tuple[Severity, Problem, str]] = []
    for kind, entry in known.items():
        history = kind == AGRANULOCYTOSIS  # when clozapine is drafted rechallenge-caution says it
        if kind in _SAID_ELSEWHERE or (history and case.clozapine_drafts):
            continue
        if kind == UNCONTROLLED and case.starting:
            continue  # epilepsy says it
        severity: Severity = entry.eu if region == "eu" else entry.us
        found += [
            (severity, p, kind)
            for p in case.problems_of(kind, history=history)
            # When clozapine is drafted, myocarditis-history or rechallenge-caution says it.
            if p not in said and not (case.clozapine_drafts and set(p.kinds).intersection(HEART_PROBLEMS))
        ]
    if not found:
        return
    severity = worst(*(s for s, _, _ in found))
    found.sort(key=lambda f: f[0] != severity)
    first = known[found[0][2]]
    problems = tuple(dict.fromkeys(p for _, p, _ in found))
    offers: tuple[Offer, ...] = remove_drafts(case) if severity == "critical" and case.starting else ()
    source = case.policy.sources.get(first.source)
    yield Found(
        code="contraindication-condition",
        severity=severity,
        subject="problems",
        summary=sentence(
            "contraindication-condition.contraindicated"
            if severity == "critical"
            else "contraindication-condition.caution",
            problem=problem_name(problems[0]),
        ),
        why=tuple(problem_line(case, p) for p in problems),
        policy_says=tuple(
            sentence(
                "contraindication-condition.policy-contraindicated"
                if s == "critical"
                else "contraindication-condition.policy-caution",
                condition=Term("condition", kind, known[kind].title, first=True),
            )
            for s, kind in dict.fromkeys((s, kind) for s, _, kind in found)
        ),
        suggested=(
            sentence(
                "contraindication-condition.no-start"
                if case.starting
                else "contraindication-condition.review"
            ),
            sentence("problem.close"),
            sentence("problem.weigh"),
        ),
        evidence=problem_evidence(problems),
        citation=Citation(
            source.title if source is not None else first.source,
            first.section,
            source.url if source is not None else "",
            first.confirmed,
        ),
        offers=offers,
    )


def _agranulocytosis(case: Case, problems: tuple[Problem, ...]) -> Iterator[Found]:
    """The list tells what no count does yet; where one is low, its band says more."""
    band = case.policy.bands_of(case.population, "anc")[0]
    if abnormal_band(case) is not None:
        return
    reason = sentence("contraindication-condition.reason-agranulocytosis")
    offers, steps = offer_cbc(case, "stat", reason)
    yield Found(
        code="contraindication-condition",
        severity="critical",
        subject="agranulocytosis",
        summary=sentence(
            "contraindication-condition.agranulocytosis",
            problem=problem_name(problems[0]),
            day=day_of(case, problems[0].onset),
        ),
        why=(
            *(problem_line(case, p) for p in problems),
            *((last_usable(case, case.anc.newest),) if case.anc.newest is not None else ()),
        ),
        policy_says=(band_says(case.policy, band),),
        suggested=(
            sentence("contraindication-condition.hold"),
            *steps,
            sentence("contraindication-condition.ask-hematologist"),
            sentence("problem.close"),
        ),
        evidence=problem_evidence(problems),
        missing=(sentence("contraindication-condition.a-count-since"),),
        citation=case.policy.cite(band),
        offers=(*offers, Wish(ReferTo("hematology", "stat"), reason)),
    )


@when_it_bears
@when("allergies")
@when(*RELEVANT)
def hypersensitivity(case: Case) -> Iterator[Found]:
    """An allergy or intolerance to clozapine on record."""
    found = clozapine_allergies(case) if case.relevant else ()
    if not found:
        return
    verification = found[0].verification
    yield Found(
        code="hypersensitivity",
        severity="critical",
        subject="allergy",
        summary=sentence("hypersensitivity.summary")
        if verification in ("", "confirmed")
        else sentence("hypersensitivity.summary-unconfirmed", verification=Record(verification)),
        why=tuple(allergy_told(a) for a in found),
        policy_says=(sentence("hypersensitivity.policy"),),
        suggested=(sentence("hypersensitivity.find-out"), sentence("hypersensitivity.correct")),
        evidence=allergy_evidence(found),
        citation=Citation(case.policy.sources["US-PI"].title, "4", case.policy.sources["US-PI"].url),
        offers=remove_drafts(case),
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def dementia_boxed_warning(case: Case) -> Iterator[Found]:
    """Dementia in a patient of 65 or more."""
    if not case.relevant:
        return
    age, limit = case.age_years, case.policy.dosing.dementia_from_years
    found = case.problems_of("dementia-psychosis")
    if not found or (age is not None and age < limit.value):
        return
    years = Number(age, 0) if age is not None else None
    yield Found(
        code="dementia-boxed-warning",
        # Without a birth date nobody knows whether the boxed warning applies.
        severity="critical" if age is not None else "warning",
        subject="dementia",
        summary=sentence("dementia-boxed-warning.summary", age=years)
        if years is not None
        else sentence("dementia-boxed-warning.summary-age-unknown"),
        why=(
            *(problem_line(case, p) for p in found),
            sentence("dementia-boxed-warning.age", age=years)
            if years is not None
            else sentence("dementia-boxed-warning.age-unknown"),
        ),
        policy_says=(sentence("dementia-boxed-warning.policy"),),
        suggested=(sentence("dementia-boxed-warning.another-way"), sentence("problem.weigh")),
        evidence=problem_evidence(found),
        citation=Citation(
            case.policy.sources["US-PI"].title, "boxed warning", case.policy.sources["US-PI"].url
        ),
        offers=remove_drafts(case) if case.starting else (),
    )


def _test_line(case: Case, test: CodedResult) -> Sentence:
    on = day_of(case, test.at, test.until)
    positive = test.value == "positive"
    if test.kind == "pregnancy-test":
        return sentence("pregnancy.test-positive" if positive else "pregnancy.test-negative", day=on)
    return sentence("pregnancy.recorded-positive" if positive else "pregnancy.recorded-negative", day=on)


def _test_evidence(test: CodedResult) -> Fact:
    return Fact(test.ref, recorded(test.raw), test.at, test.date_only)


def _pregnancy_lines(case: Case, found: Pregnancy) -> Iterator[Sentence]:
    """What speaks for the pregnancy, and what speaks against one that the problem list calls active."""
    for p in found.problems:
        yield problem_line(case, p)
    if found.outlasted:
        carried = case.policy.pregnancy_test.carried_days.value
        yield sentence("pregnancy.outlasted", days=Number(carried))
    if found.problems and found.tested is not None and found.tested.value == "negative":
        yield _test_line(case, found.tested)
    if found.positive is not None:
        yield _test_line(case, found.positive)


@when_it_bears
@when("problems", "coded")
@when(*RELEVANT)
def pregnancy(case: Case) -> Iterator[Found]:
    """Pregnancy on the problem list, or a positive test: a warning at the start, else information."""
    # The recorded gender is administrative: it rules out no pregnancy.
    found = pregnancy_now(case) if case.relevant else None
    if found is None:
        return
    matters = case.starting or is_new(case, found.since) or raises_dose(case)
    if not matters and not is_told(case, found.since):
        return
    yield Found(
        code="pregnancy",
        severity="warning" if case.starting else "info",
        subject="pregnancy",
        summary=sentence("pregnancy.starting" if case.starting else "pregnancy.summary"),
        why=tuple(_pregnancy_lines(case, found)),
        policy_says=(sentence("pregnancy.policy"), sentence("pregnancy.newborns")),
        suggested=(sentence("pregnancy.weigh"), sentence("pregnancy.check")),
        evidence=(
            *problem_evidence(found.problems),
            *((_test_evidence(found.positive),) if found.positive is not None else ()),
        ),
        citation=Citation(_SUMMARY_2026, "Pregnancy"),
        changes_order=bool(case.clozapine_drafts) and matters,
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def breastfeeding(case: Case) -> Iterator[Found]:
    """Breast-feeding under clozapine: a warning at the start, while it is new and where the dose is raised, else information."""
    found = case.problems_of("breastfeeding") if case.relevant else ()
    if not found:
        return
    since = latest_known(case, found)
    matters = case.starting or is_new(case, since) or raises_dose(case)
    if not matters and not is_told(case, since):
        return
    yield Found(
        code="breastfeeding",
        severity="warning" if matters else "info",
        subject="breastfeeding",
        summary=sentence("breastfeeding.summary"),
        why=tuple(problem_line(case, p) for p in found),
        policy_says=(sentence("breastfeeding.policy"),),
        suggested=(sentence("breastfeeding.advise"), sentence("breastfeeding.watch")),
        evidence=problem_evidence(found),
        citation=Citation(_SUMMARY_2026, "Breast-feeding"),
    )


def _anticholinergic(
    case: Case,
    code: str,
    problems: tuple[Problem, ...],
    *,
    summary: Sentence,
    policy: Sentence,
    ask: Sentence,
) -> Found:
    source = case.policy.sources["UK-SmPC"]
    return Found(
        code=code,
        severity="warning",
        subject=code,
        summary=summary,
        why=tuple(problem_line(case, p) for p in problems),
        policy_says=(policy,),
        suggested=(ask, sentence("anticholinergic.avoid")),
        evidence=problem_evidence(problems),
        citation=Citation(source.title, "4.4", source.url, confirmed=False),
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def angle_closure(case: Case) -> Iterator[Found]:
    """Narrow-angle glaucoma."""
    found = case.problems_of("angle-closure") if case.relevant else ()
    if found:
        yield _anticholinergic(
            case,
            "angle-closure",
            found,
            summary=sentence("angle-closure.summary", problem=problem_name(found[0])),
            policy=sentence("angle-closure.policy"),
            ask=sentence("angle-closure.ask"),
        )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def prostatic_hypertrophy(case: Case) -> Iterator[Found]:
    """An enlarged prostate or urinary retention."""
    found = case.problems_of("prostatic-hypertrophy") if case.relevant else ()
    if found:
        yield _anticholinergic(
            case,
            "prostatic-hypertrophy",
            found,
            summary=sentence("prostatic-hypertrophy.summary", problem=problem_name(found[0])),
            policy=sentence("prostatic-hypertrophy.policy"),
            ask=sentence("prostatic-hypertrophy.ask"),
        )


RULES = (
    contraindication_condition,
    hypersensitivity,
    dementia_boxed_warning,
    pregnancy,
    breastfeeding,
    angle_closure,
    prostatic_hypertrophy,
)
