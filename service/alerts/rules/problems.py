"""Problems, allergies, pregnancy and age that speak against clozapine (clinical.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.facts.patient import CLOZAPINE, Allergy, CodedResult, Problem
from service.alerts.knowledge.conditions import contraindications
from service.alerts.rules.asked import RELEVANT, when, when_it_bears
from service.alerts.rules.count_lines import remove_drafts
from service.alerts.rules.listed import problem_evidence, problem_line, verified
from service.alerts.rules.myocarditis import HEART_PROBLEMS, myocarditis_now
from service.alerts.rules.seizures import UNCONTROLLED
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding, Offer, Severity, worst

#: An obstructed bowel has a rule of its own, with more to say: gi-hypomotility.
_SAID_ELSEWHERE = frozenset({"gi-obstruction"})
#: Counts also when it is over; when clozapine is drafted rechallenge-caution says it.
_HISTORY = "agranulocytosis-history"
_NEVER_TRUE = frozenset({"refuted", "entered-in-error"})
_SUMMARY_2026 = "Treatment-resistant schizophrenia and clozapine management (clinical summary)"


@when_it_bears
@when("problems")
@when(*RELEVANT)
def contraindication_condition(case: Case) -> Iterator[Finding]:
    """Active problems that contraindicate clozapine or call for caution: all on one card, the worst first."""
    known = contraindications()
    if not case.has_problems(known) or not case.relevant:
        return
    region = case.policy.interactions.severity_region
    said = frozenset(myocarditis_now(case))  # myocarditis-suspected says it
    found: list[tuple[Severity, Problem, str]] = []
    for kind, entry in known.items():
        history = kind == _HISTORY
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
    yield Finding(
        code="contraindication-condition",
        severity=severity,
        subject="problems",
        summary=w.summary(
            f"{w.plain(problems[0].label)}{verified(problems[0])}: "
            + ("contraindicates clozapine." if severity == "critical" else "caution with clozapine.")
        ),
        why=tuple(problem_line(case, p) for p in problems),
        policy_says=tuple(
            f"{known[kind].title[0].upper()}{known[kind].title[1:]}: {'contraindicated' if s == 'critical' else 'caution'}."
            for s, kind in dict.fromkeys((s, kind) for s, _, kind in found)
        ),
        suggested=(
            "Do not start clozapine while this lasts."
            if case.starting
            else "Review whether clozapine can go on.",
            "If the problem is over, close it on the problem list.",
            "Document why the benefit outweighs the risk.",
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


def clozapine_allergies(case: Case) -> list[Allergy]:
    """Allergies and intolerances to clozapine on record that are neither over nor refuted."""
    return [
        a
        for a in case.snapshot.allergies
        if CLOZAPINE in a.drugs
        and a.verification not in _NEVER_TRUE
        and a.clinical_status not in ("inactive", "resolved")
    ]


@when_it_bears
@when("allergies")
@when(*RELEVANT)
def hypersensitivity(case: Case) -> Iterator[Finding]:
    """An allergy or intolerance to clozapine on record."""
    found = clozapine_allergies(case) if case.relevant else []
    if not found:
        return
    first = found[0]
    unconfirmed = f" ({w.safe(first.verification)})" if first.verification not in ("", "confirmed") else ""
    yield Finding(
        code="hypersensitivity",
        severity="critical",
        subject="allergy",
        summary=w.summary(
            f"Allergy to clozapine on record{unconfirmed}: do not give it before it is cleared up."
        ),
        why=tuple(
            f"Allergy list: {w.safe(a.label)}{f', reaction: {w.safe(a.reaction)}' if a.reaction else ''}"
            f"{f' ({w.safe(a.verification)})' if a.verification else ''}."
            for a in found
        ),
        policy_says=("Serious hypersensitivity to clozapine is a contraindication.",),
        suggested=(
            "Find out what the reaction was.",
            "A side effect that is no allergy belongs elsewhere: correct the allergy list.",
        ),
        evidence=tuple(Evidence(a.ref, w.safe(a.label)) for a in found),
        citation=Citation(case.policy.sources["US-PI"].title, "4", case.policy.sources["US-PI"].url),
        offers=remove_drafts(case),
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def dementia_boxed_warning(case: Case) -> Iterator[Finding]:
    """Dementia in a patient of 65 or more."""
    if not case.relevant:
        return
    age, limit = case.age_years, case.policy.dosing.elderly_from_years
    found = case.problems_of("dementia-psychosis")
    if not found or (age is not None and age < limit.value):
        return
    years = f"{age} years" if age is not None else "unknown age"
    yield Finding(
        code="dementia-boxed-warning",
        # Without a birth date nobody knows whether the boxed warning applies.
        severity="critical" if age is not None else "warning",
        subject="dementia",
        summary=w.summary(
            f"Dementia, {years}: antipsychotics raise mortality (boxed warning), clozapine is not approved."
        ),
        why=(*(problem_line(case, p) for p in found), f"Age: {years}."),
        policy_says=(
            "Older patients with dementia-related psychosis die more often under antipsychotics; clozapine is not approved for it.",
        ),
        suggested=("Look for another way; ask a specialist.", "Document why the benefit outweighs the risk."),
        evidence=problem_evidence(found),
        citation=Citation(
            case.policy.sources["US-PI"].title, "boxed warning", case.policy.sources["US-PI"].url
        ),
        offers=remove_drafts(case) if case.starting else (),
    )


def _pregnancy_over(case: Case, at: datetime | None) -> bool:
    """A birth or another end of a pregnancy is on record since."""
    if at is None:
        return False
    ends = [p.onset for p in case.problems_of("pregnancy-ended", history=True) if p.onset is not None]
    return any(at < end <= case.as_of for end in ends)


def _pregnancies(case: Case) -> list[Problem]:
    """Pregnancies that may go on. One without a status is over when its time has passed; one called active is not."""
    carried = case.policy.pregnancy_test.carried_days.value
    return [
        p
        for p in case.problems_of("pregnancy")
        if not _pregnancy_over(case, p.onset)
        and (p.clinical_status or p.onset is None or case.days_since(p.onset) <= carried)
    ]


def _known_test(case: Case) -> CodedResult | None:
    """The newest pregnancy test or recorded status that can be read: one that cannot does not take back the one before it."""
    return next(
        (
            t
            for t in case.coded("pregnancy-test", "pregnancy-status")
            if t.value in ("positive", "negative") and t.at is not None
        ),
        None,
    )


def _test_line(case: Case, test: CodedResult) -> str:
    day = w.day(case.snapshot, test.at)
    if test.kind == "pregnancy-test":
        return f"Pregnancy test {test.value} on {day}."
    return f"Recorded as {'pregnant' if test.value == 'positive' else 'not pregnant'} on {day}."


def _is_positive(case: Case, test: CodedResult) -> bool:
    if test.value != "positive" or test.at is None or _pregnancy_over(case, test.at):
        return False
    return case.days_since(test.at) <= case.policy.pregnancy_test.carried_days.value


def _pregnancy_doubts(case: Case, found: list[Problem], test: CodedResult | None) -> Iterator[str]:
    """What speaks against a pregnancy that the problem list calls active."""
    carried = case.policy.pregnancy_test.carried_days.value
    if any(p.onset is not None and case.days_since(p.onset) > carried for p in found):
        yield f"On the list for more than {w.number(carried)} days: find out whether it is over."
    if found and test is not None and test.value == "negative":
        yield _test_line(case, test)


@when_it_bears
@when("problems", "coded")
@when(*RELEVANT)
def pregnancy(case: Case) -> Iterator[Finding]:
    """Pregnancy on the problem list, or a positive test: a warning at the start, else information."""
    # The recorded gender is administrative: it rules out no pregnancy.
    if not case.relevant:
        return
    found = _pregnancies(case)
    newest = _known_test(case)
    test = newest if newest is not None and _is_positive(case, newest) else None
    if not found and test is None:
        return
    severity: Severity = "warning" if case.starting else "info"
    yield Finding(
        code="pregnancy",
        severity=severity,
        subject="pregnancy",
        summary=w.summary(
            "Pregnancy and clozapine: weigh benefit against risk"
            + (
                "; start only if it is clearly needed."
                if case.starting
                else ", check the level, tell obstetrics."
            )
        ),
        why=(
            *(problem_line(case, p) for p in found),
            *_pregnancy_doubts(case, found, newest),
            *((_test_line(case, test),) if test is not None else ()),
        ),
        policy_says=(
            "Human data are limited; clozapine is given in pregnancy only if the benefit outweighs the risk.",
            "After exposure in the third trimester newborns can have extrapyramidal and withdrawal signs. The clozapine level changes in pregnancy.",
        ),
        suggested=(
            "Weigh relapse against risk together with the patient.",
            "Check the clozapine level, screen for gestational diabetes, tell obstetrics and neonatology.",
        ),
        evidence=(
            *problem_evidence(found),
            *((Evidence(test.ref, w.safe(test.raw), test.at, test.date_only),) if test is not None else ()),
        ),
        citation=Citation(_SUMMARY_2026, "Pregnancy"),
        changes_order=bool(case.clozapine_drafts),
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def breastfeeding(case: Case) -> Iterator[Finding]:
    """Breast-feeding under clozapine."""
    found = case.problems_of("breastfeeding") if case.relevant else ()
    if not found:
        return
    yield Finding(
        code="breastfeeding",
        severity="warning",
        subject="breastfeeding",
        summary="Breast-feeding under clozapine is not recommended: sedation, agranulocytosis and seizures in the infant.",
        why=tuple(problem_line(case, p) for p in found),
        policy_says=(
            "Clozapine passes into milk; sedation, agranulocytosis and seizures of infants were seen or are feared.",
        ),
        suggested=(
            "Advise another way of feeding.",
            "If breast-feeding goes on: watch the infant, blood counts.",
        ),
        evidence=problem_evidence(found),
        citation=Citation(_SUMMARY_2026, "Breast-feeding"),
    )


def _anticholinergic(case: Case, kind: str, code: str, what: str, risk: str) -> Iterator[Finding]:
    found = case.problems_of(kind) if case.relevant else ()
    if not found:
        return
    yield Finding(
        code=code,
        severity="warning",
        subject=code,
        summary=w.summary(
            f"{w.plain(found[0].label)}{verified(found[0])}: clozapine is anticholinergic, {risk}."
        ),
        why=tuple(problem_line(case, p) for p in found),
        policy_says=(f"Clozapine is strongly anticholinergic: caution in {what}.",),
        suggested=(
            f"Ask about signs of it; involve {'ophthalmology' if code == 'angle-closure' else 'urology'} if in doubt.",
            "Avoid further anticholinergic drugs.",
        ),
        evidence=problem_evidence(found),
        citation=Citation(
            case.policy.sources["UK-SmPC"].title, "4.4", case.policy.sources["UK-SmPC"].url, confirmed=False
        ),
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def angle_closure(case: Case) -> Iterator[Finding]:
    """Narrow-angle glaucoma."""
    return _anticholinergic(
        case, "angle-closure", "angle-closure", "narrow-angle glaucoma", "the eye pressure can rise"
    )


@when_it_bears
@when("problems")
@when(*RELEVANT)
def prostatic_hypertrophy(case: Case) -> Iterator[Finding]:
    """An enlarged prostate or urinary retention."""
    return _anticholinergic(
        case,
        "prostatic-hypertrophy",
        "prostatic-hypertrophy",
        "prostatic enlargement",
        "urine can be retained",
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
