"""The service in Python, for notebooks, back-tests, oracles and other services: no server, no database, no clock (docs/python.md).

    >>> from datetime import UTC, datetime
    >>> from service.judge import judge, read_dose
    >>> answer = judge(request, as_of=datetime(2026, 11, 20, 10, tzinfo=UTC))
    >>> [(finding.code, finding.severity) for finding in answer.findings]
    >>> read_dose("100 mg mane and 200 mg nocte", "clozapine 100 MG Oral Tablet").mg_per_day

What is named here stays; new fields and options may join it.
"""

from service.judge.dose import DoseRead, read_dose
from service.judge.errors import JudgeError
from service.judge.judgement import Judgement, judge
from service.judge.site_for import SiteOptions

__all__ = ["DoseRead", "JudgeError", "Judgement", "SiteOptions", "judge", "read_dose"]
