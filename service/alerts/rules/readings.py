"""How results lie to limits, for the rules that ask it here still."""

from service.alerts.case.readings import reaches as reaches
