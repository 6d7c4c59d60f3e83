"""What a process forked for a command has read already (``tests.command``)."""

from service.alerts.policy.policy import policy_by_id, policy_ids
from service.hooks.warm import warm

warm()
for _policy in policy_ids():
    policy_by_id(_policy)
