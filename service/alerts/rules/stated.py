"""What clinicians stated in the registry, against what the EHR still does: a hold, a stop or "do not rechallenge" is done when the EHR shows it."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live
from service.alerts.case.stated import standing_statement
from service.alerts.facts.patient import ClinicianFlag, Medication
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.rules.asked import when
from service.alerts.say.finding import NotifyTeam
from service.alerts.say.found import Fact, Found, Wish
from service.alerts.say.sentence import Day, Param, Record, Sentence, quoting, sentence

#: Characters of a name in a summary.
_SHORT = 30


@when("stated")
def stated_not_done(case: Case) -> Iterator[Found]:
    """A hold, a stop or "do not rechallenge" stands in the registry, and the EHR has an order, a supply or a later dose."""
    for flag in (standing_statement(case.flags_of_treatment), *case.flags("do-not-rechallenge")[-1:]):
        if flag is None:
            continue
        against = [m for m in case.clozapine_records if _contradicts(case, m, flag)]
        if not against and not case.clozapine_drafts:
            continue
        day = Day(case.snapshot.day(flag.at))
        what = _what(against)
        said: dict[str, Param] = {"day": day, "by": Record(flag.by, short=_SHORT)}
        team = sentence("stated-not-done.team")
        yield Found(
            code="stated-not-done",
            severity="critical",
            subject=flag.kind,
            summary=Sentence(f"stated-not-done.{flag.kind}-{what}", said),
            why=(
                Sentence(f"stated-not-done.why-{flag.kind}", {"day": day, "by": Record(flag.by)}),
                *((Sentence("stated-not-done.text", {"text": Record(flag.text)}),) if flag.text else ()),
                *(
                    Sentence(
                        "stated-not-done.record", {"label": Record(m.label), "status": quoting(m.status)}
                    )
                    for m in against[:3]
                ),
            ),
            policy_says=(sentence("stated-not-done.policy"),),
            suggested=(
                sentence(f"stated-not-done.step-{flag.kind}"),
                sentence("stated-not-done.or-withdraw"),
            ),
            evidence=(
                *(Fact(m.ref, m.label, m.start or m.authored) for m in against),
                Fact("", f"{flag.kind} {flag.by}", flag.at),
            ),
            citation=case.policy.citation,
            offers=(*remove_drafts(case), Wish(NotifyTeam("stated-not-done"), team)),
        )


def _contradicts(case: Case, m: Medication, flag: ClinicianFlag) -> bool:
    """An order that runs, a supply handed over since, or a dose given since the last one that was stated."""
    if m.not_taken or m.stops:
        return False
    if m.role == "order":
        return is_live(m, case.as_of)
    given = m.start
    if m.role not in ("dispense", "administration") or given is None or given > case.as_of:
        return False
    return given > flag.at and m.status not in ("not-done", "cancelled", "declined", "entered-in-error")


def _what(against: list[Medication]) -> str:
    """The gravest of what goes on: doses, supply, an order, or only one that is being written."""
    roles = {m.role for m in against}
    return next((name for role, name in _GRAVEST if role in roles), "draft")


_GRAVEST = (("administration", "dose"), ("dispense", "supply"), ("order", "order"))
RULES = (stated_not_done,)
