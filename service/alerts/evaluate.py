"""The question this service exists for: what is unsafe, due or unknown for this patient, now?"""

from __future__ import annotations

from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.policy.policy import Policy
from service.alerts.rules import RULES
from service.alerts.rules.asked import RuleBook
from service.alerts.say.cited import own
from service.alerts.say.finding import SEVERITY_RANK, FaultObserver, Finding
from service.alerts.say.found import Found, told
from service.alerts.say.language import english
from service.alerts.say.sentence import Term, sentence

RULEBOOK = RuleBook(RULES)


def evaluate(
    snapshot: PatientSnapshot,
    policy: Policy,
    as_of: datetime,
    practice: Practice = AS_USUAL,
    *,
    on_fault: FaultObserver | None = None,
) -> list[Finding]:
    """Findings for a patient under a policy at a moment, most severe first.

    Args:
        snapshot: the facts; see ``service.alerts.facts.patient``.
        policy: the monitoring protocol that applies.
        as_of: timezone-aware moment of the question; the site's zone (``snapshot.zone``) decides the date.
        practice: how the site works: its options, as far as rules ask.
        on_fault: told of rules that failed.

    A rule that fails does not silence the others: it is replaced by a ``data-unavailable`` finding that names it.
    """
    return evaluate_case(Case(snapshot, policy, as_of, practice), on_fault=on_fault)


def evaluate_case(case: Case, *, on_fault: FaultObserver | None = None) -> list[Finding]:
    """As :func:`evaluate`, for a case that was looked at already: what it has derived is not derived again."""
    findings: list[Finding] = []
    words = english()
    for rule, only_critical in RULEBOOK.asked(case):
        try:
            findings += [
                told(f, words) if isinstance(f, Found) else f
                for f in rule(case)
                if not only_critical or f.severity == "critical"
            ]
        except Exception as fault:
            if on_fault is not None:
                on_fault(rule.__name__, fault)
            findings.append(could_not_run(rule.__name__))
    findings.sort(key=lambda f: (-SEVERITY_RANK[f.severity], f.code, f.subject))
    return findings


def could_not_run(rule: str) -> Finding:
    """In place of the findings of a rule that failed."""
    check = Term("rule", rule, rule.replace("_", " "))
    failed = Found(
        code="data-unavailable",
        severity="warning",
        subject=f"rule:{rule}",
        summary=sentence("check-failed.summary", check=check),
        why=(sentence("check-failed.why", check=check),),
        suggested=(sentence("check-failed.by-hand"), sentence("check-failed.operators")),
        missing=(sentence("check-failed.missing", check=check),),
        citation=own("fault"),
    )
    return told(failed, english())
