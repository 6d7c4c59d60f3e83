"""Drugs, classes and doses of interactions in words, and what an interaction card offers."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.other_drugs import ON_HOLD
from service.alerts.case.tablet import HALVES, gives
from service.alerts.case.together import ROUNDED, clozapine_dose_before, dose_before_stopped
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import offset_days, onset_days
from service.alerts.knowledge.drugs import drugs
from service.alerts.rules.interaction_matches import Match, in_first_weeks
from service.alerts.rules.left_drugs import Left
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Citation
from service.alerts.say.found import Fact
from service.alerts.say.sentence import (
    Counted,
    Day,
    Dose,
    Listed,
    Quantity,
    Record,
    Sentence,
    Term,
    quoted,
    sentence,
)

#: So many times as long as a level takes to tell is long.
_LONG = 2
#: So many other drugs are named on a card.
_NAMED = 3


def drug(drug_id: str, *, first: bool = False) -> Term:
    """A drug by its generic name."""
    name = "St John's wort" if drug_id == "st-johns-wort" else drug_id.replace("-", " ")
    return Term("drug", drug_id, name, first=first)


def drugs_first(drug_ids: tuple[str, ...]) -> Listed:
    """Drugs at the beginning of a sentence."""
    return Listed((drug(drug_ids[0], first=True), *map(drug, drug_ids[1:])))


def drugs_within(drug_ids: Iterable[str]) -> Listed:
    """Drugs within a sentence, a few of them."""
    return Listed(tuple([drug(d) for d in drug_ids][:_NAMED]))


def headline(match: Match) -> Term:
    """What happens."""
    if match.pair is not None:
        return Term("interaction", f"{match.group.id}.pairs.{match.pair.injected}", match.pair.headline)
    return Term("interaction", f"{match.group.id}.headline", match.group.headline)


def title(group: InteractionClass) -> Term:
    """What a drug of the class is."""
    return Term("interaction", f"{group.id}.title", group.title)


def steps_of(case: Case, match: Match) -> list[Sentence]:
    """What a class advises, as its data says it."""
    group, drug_id = match.group, match.drug_id
    name, texts = "steps", group.steps
    if match.severity == "info" and group.info_steps:
        name, texts = "info_steps", group.info_steps
    elif group.cancer_steps and is_against_cancer(drug_id):
        name, texts = "cancer_steps", group.cancer_steps
    elif case.in_titration and group.titration_steps:
        name, texts = "titration_steps", group.titration_steps
    elif in_first_weeks(case) and group.first_weeks_steps:
        name, texts = "first_weeks_steps", group.first_weeks_steps
    steps = [quoted("interaction", f"{group.id}.{name}.{n}", step) for n, step in enumerate(texts)]
    if drug_id in group.parenteral_critical and match.pair is None:
        own, text = (
            ("injection_step", group.injection_step) if match.injected else ("mouth_step", group.mouth_step)
        )
        steps.insert(0 if match.injected else len(steps), quoted("interaction", f"{group.id}.{own}", text))
    if match.pair is not None:
        step = quoted("interaction", f"{group.id}.pairs.{match.pair.injected}.step", match.pair.step)
        steps.insert(0, step)
    if group.id == "myelosuppressive" and match.severity != "info":
        rule = case.policy.interactions
        steps.append(
            sentence(
                "interaction.marrow-counts",
                every=Counted(int(rule.marrow_count_days.value)),
                after=Counted(int(rule.marrow_after_days.value)),
            )
        )
    return steps


def says_of(case: Case, match: Match) -> Sentence:
    """What the documents say of a class, those of the policy's region."""
    group = match.group
    if case.policy.interactions.severity_region == "eu" and group.id in drugs()[match.drug_id].unraised:
        return sentence("interaction.says-unraised", drug=drug(match.drug_id))
    if group.us is not None and case.policy.interactions.severity_region == "us":
        return quoted("interaction", f"{group.id}.us.says", group.us.says)
    return quoted("interaction", f"{group.id}.says", group.says)


def says_of_stop(group: InteractionClass) -> Sentence:
    """What the documents say of the stop of a drug of a class."""
    return quoted("interaction", f"{group.id}.stopped_says", group.stopped_says)


def cite(case: Case, match: Match) -> Citation:
    """The documents of a class: whether a drug belongs to it, or a text was read in them, is said in words on the card."""
    group = match.group
    told = match.pair or (group.us if case.policy.interactions.severity_region == "us" else None) or group
    cited = case.policy.cite(told)
    return Citation(cited.label, cited.section, cited.url)


def doubts(case: Case, match: Match) -> list[Sentence]:
    """That a primary source was not read: for what is said, or for the drug's place in the class."""
    group = match.group
    told = match.pair or (group.us if case.policy.interactions.severity_region == "us" else None) or group
    if not told.confirmed:
        return [sentence("interaction.not-read")]
    if match.drug_id in group.unconfirmed:
        return [
            sentence(
                "interaction.membership-not-read", drug=drug(match.drug_id, first=True), title=title(group)
            )
        ]
    return []


def time_line(match: Match) -> Sentence:
    """When the effect on the level is full, and when it is gone."""
    return time_line_of(match.drug_id, match.group)


def time_line_of(drug_id: str, group: InteractionClass) -> Sentence:
    """The same, of a drug and the class by which it moves the level."""
    return sentence(
        f"interaction.time-{group.effect}",
        drug=drug(drug_id, first=True),
        onset=Counted(onset_days(drug_id, group.id)),
        offset=Counted(offset_days(drug_id, group.id)),
    )


def started(m: Medication) -> Fact:
    """A medication record as evidence."""
    return Fact(m.ref, sentence("interaction.drug", drug=Record(m.label)), m.start, m.start_date_only)


def together(case: Case, medication: Medication, *, ordered: bool, perhaps: bool) -> Sentence:
    """What is given with what, since when, at which dose."""
    label = Record(medication.label)
    if medication.role == "draft":
        other = sentence("interaction.other-ordered", drug=label)
    elif medication.start:
        day = Day(case.snapshot.day(medication.start))
        other = sentence("interaction.other-listed-since", drug=label, day=day)
    else:
        other = sentence("interaction.other-listed", drug=label)
    state = "ordered" if ordered else "perhaps" if perhaps else "taken"
    dose = case.current_mg_per_day
    clozapine = (
        sentence(f"interaction.clozapine-dosed-{state}", dose=Dose(dose))
        if dose
        else sentence(f"interaction.clozapine-now-{state}")
    )
    return sentence("interaction.together", other=other, clozapine=clozapine)


def ended(case: Case, left: Left) -> tuple[Sentence, ...]:
    """That a drug ended, when, and what it is."""
    medication = left.medication
    record, what = Record(medication.label), title(left.groups[left.longest])
    if medication.role == "draft":
        return (sentence("interaction-stopped.ended-with-this-order", drug=record, title=what),)
    if medication.end is not None:
        day = Day(case.snapshot.day(medication.end))
        return (sentence("interaction-stopped.ended-on", drug=record, title=what, day=day),)
    if medication.status == ON_HOLD:
        return (sentence("interaction-stopped.held", drug=record, title=what),)
    began = medication.start or medication.authored
    return (
        sentence("interaction-stopped.ended", drug=record, title=what),
        sentence(
            "interaction-stopped.no-day", day=Day(case.snapshot.day(began) if began is not None else None)
        ),
    )


def doses_beside(case: Case, left: Left) -> tuple[Sentence, ...]:
    """The dose of clozapine before a drug that ended, and today's."""
    before = dose_before_stopped(case, left.longest)
    now = case.established_mg_per_day
    if before is None or now is None:
        return ()
    return (sentence("interaction-stopped.doses", before=Dose(before), now=Dose(now)),)


def level_high(case: Case) -> Quantity:
    """Above this level the dose is lowered."""
    return Quantity(case.policy.levels.high.value, "ng/mL")


def level_low(case: Case) -> Quantity:
    """Below this level the dose is raised."""
    return Quantity(case.policy.levels.adequate.value, "ng/mL")


def is_against_cancer(drug_id: str) -> bool:
    """It is given against cancer (ATC L01): no other drug replaces it for the sake of clozapine."""
    return any(code.startswith("L01") for code in drugs()[drug_id].atc)


def first_level_days(case: Case, onset: int) -> int:
    """When the first level is taken: when the effect is full; of a drug that takes weeks for it before, as it has begun by then."""
    tells = int(case.policy.interactions.level_after_days.value)
    return tells if onset > _LONG * tells else onset


def level_after(case: Case, onset: int) -> list[Sentence]:
    """When to take a level, and when again."""
    first = first_level_days(case, onset)
    if first == onset:
        return [sentence("interaction.level-after", days=Counted(onset))]
    return [
        sentence("interaction.level-after", days=Counted(first)),
        sentence("interaction.level-again", days=Counted(onset)),
    ]


class Third(Struct, frozen=True):
    """One third of a dose, in doses that can be given."""

    base: float
    target: float
    #: How often a day; 1 also where the doses of the order differ.
    times: int
    #: The tablet of the draft can give it.
    tablet_gives: bool
    #: Strength of the draft's tablet, mg.
    tablet_mg: float | None


def third_of(case: Case, drug_id: str, before: float | None = None) -> Third | None:
    """One third of the dose before the inhibitor, rounded down to doses that can be given; None when that is no lower dose than today's.

    Args:
        case: the question.
        drug_id: the inhibitor.
        before: the dose before the inhibitor, mg per day, where it is known from elsewhere.
    """
    if case.starting:
        return None  # there is no dose of which it were a third
    base = (
        before
        or clozapine_dose_before(case, drug_id)
        or case.established_mg_per_day
        or case.drafted_mg_per_day
    )
    now = case.current_mg_per_day or base
    if base is None or now is None:
        return None
    draft = case.clozapine_drafts[0] if len(case.clozapine_drafts) == 1 else None
    times = _times(draft)
    step = case.policy.dosing.dose_step.value
    third = base * case.policy.dosing.strong_inhibitor_factor.value * ROUNDED
    target = third // (times * step) * times * step
    if target < times * step:
        times, target = 1, max(step, third // step * step)
    tablet = draft.strength_mg if draft is not None else None
    return Third(base, target, times, gives(tablet, target / times), tablet) if target < now else None


def _times(draft: Medication | None) -> int:
    """In how many equal doses a day the draft gives it; 1 where they differ."""
    dose = draft.dose if draft is not None else None
    if (
        dose is None
        or not dose.doses_per_day
        or not dose.largest_single_mg
        or not dose.mg_per_day
        or dose.steps
    ):
        return 1
    times = round(dose.doses_per_day)
    equal = round(times * dose.largest_single_mg) == round(dose.mg_per_day)
    return times if equal and times > 1 else 1


def start_small(case: Case) -> tuple[list[Sentence], tuple[ChangeDose, ...]]:
    """Beside a strong inhibitor clozapine starts with the smallest dose: steps, and the offer where the draft is one dose."""
    first = case.policy.dosing.restart_single.value
    steps = [
        sentence("interaction.start-with", dose=Dose(first)),
        sentence("interaction.titrate-to-third"),
        sentence("interaction.level-each-change"),
    ]
    drafts = case.clozapine_drafts
    if len(drafts) != 1 or not drafts[0].ref or drafts[0].dose is None or drafts[0].dose.steps:
        return steps, ()
    if not gives(drafts[0].strength_mg, first) or case.drafted_mg_per_day in (None, first):
        return steps, ()
    return steps, (ChangeDose(drafts[0].ref, w.plain(drafts[0].label), first, 1, step_mg=first),)


def change_to(case: Case, third: Third) -> tuple[ChangeDose, ...]:
    """The offer to change the only clozapine draft to a dose that its tablet can give; its times of day are kept."""
    drafts = case.clozapine_drafts
    if len(drafts) != 1 or not drafts[0].ref or not third.tablet_gives:
        return ()
    draft, label = drafts[0], w.plain(drafts[0].label)
    at_once, bedtime = (
        case.policy.dosing.once_daily_maximum.value,
        draft.dose is not None and draft.dose.bedtime,
    )
    if third.times == 1 and third.target > at_once and not bedtime and _is_once_daily(draft):
        # More than is given at once by day: the doses are new, and so are their times.
        return (ChangeDose(draft.ref, label, third.target, 2),)
    step = third.tablet_mg / HALVES if third.tablet_mg else case.policy.dosing.dose_step.value
    return (ChangeDose(draft.ref, label, third.target, third.times, step_mg=step),)


def _is_once_daily(draft: Medication) -> bool:
    return draft.dose is not None and draft.dose.doses_per_day == 1
