"""Facts that were read already, weighed at a site: the one way in which every question reaches the rules.

Hook calls, the FHIR operation, a question in Python, the back-test, the sweep and the work list come here. It is narrower than :func:`service.judge.judge`: nothing is read, nothing is said about what was not sent, and no card is written. Whoever
asks the same facts under several policies, or at many moments, reads them once.
"""

from __future__ import annotations

from datetime import datetime

from service.alerts.case.case import Case
from service.alerts.dispensing import with_refill
from service.alerts.evaluate import evaluate_case
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.policy.policy import Policy
from service.alerts.say.cards import shown
from service.alerts.say.finding import FaultObserver, Finding
from service.options.site import Site


class Weighed:
    """Facts at a moment, at a site. What is asked for is worked out when it is asked for.

    Args:
        facts: what is known, and which hook asks.
        site: whose policy and options apply.
        as_of: the moment of the question, with a time zone.
        policy: another policy than the site's.
        on_fault: told of rules that failed.
    """

    def __init__(
        self,
        facts: PatientSnapshot,
        site: Site,
        as_of: datetime,
        *,
        policy: Policy | None = None,
        on_fault: FaultObserver | None = None,
    ) -> None:
        self.hook = facts.hook
        self.case = Case(facts, policy or site.policy, as_of, site.options)
        self._on_fault = on_fault

    @property
    def on_clozapine(self) -> bool:
        """Clozapine is taken at the moment of the question."""
        return self.case.on_clozapine

    @lazy
    def findings(self) -> list[Finding]:
        """Everything that was found, most severe first."""
        found = evaluate_case(self.case, on_fault=self._on_fault)
        return with_refill(self.case, found, self._on_fault)

    @property
    def shown(self) -> list[Finding]:
        """The findings of which the hook makes cards."""
        return shown(self.findings, self.hook)
