"""``python -m tools.courses`` (``make courses``): the table of every policy, then a thousand dangers; ends with 1 where an aim is missed."""

from __future__ import annotations

import argparse
import sys

from service.alerts.policy.policy import policy_ids
from tools.courses.dangers import injections, missed
from tools.courses.table import table, tally

_INJECTIONS = 1000
#: Places that are named; one rule that speaks without need speaks at every visit.
_NAMED = 40


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.courses", description=__doc__)
    parser.add_argument("policies", nargs="*", help="ids of policies; all there are unless named")
    parser.add_argument("--injections", type=int, default=_INJECTIONS, help="so many dangers (0: none)")
    parser.add_argument("--no-table", action="store_true", help="only the dangers")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    policies = tuple(given.policies) or policy_ids()
    wrong = 0
    if not given.no_table:
        tallies = []
        for policy_id in policies:
            tallies.append(tally(policy_id))
            print(table(tallies[-1:]).splitlines()[-1], flush=True)
            for place in (*tallies[-1].places, *tallies[-1].asked_twice, *tallies[-1].unread)[:_NAMED]:
                print("   ", place)
        print()
        print(table(tallies))
        wrong += sum(not t.meets_the_aims for t in tallies)
    if given.injections:
        silent = []
        for injection in injections(policies, given.injections, given.seed):
            for found in missed(injection):
                print("silent:", found, flush=True)
                silent.append(found)
        print(f"{given.injections} dangers injected, {len({str(m.injection) for m in silent})} missed")
        wrong += len(silent)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
