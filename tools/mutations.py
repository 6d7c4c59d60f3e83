"""``python -m tools.mutations [FILE…]``: change each number of the policies by a step, and say which change no vignette notices.

A number that can be changed without any patient being told something else is read by no rule, or no vignette stands at its edge.
Every vignette is evaluated under the policies that inherit the file; finding, date, dose or text must change. Exit 1 with survivors.
"""

from __future__ import annotations

import copy
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.policy import policy as policies
from service.alerts.policy.numbers import name_of
from service.alerts.policy.policy import POLICY_FILES, Policy, policy_ids
from service.alerts.policy.prose import filled
from service.alerts.say.finding import Finding
from tests.alerts.vignette import facts_of, rows
from tests.data import NOW

#: Smallest step that is tried, up and down; a larger number moves by its hundredth.
_STEP = 1.0
_HUNDREDTH = 0.01

Path = tuple[str | int, ...]


class Patients:
    """The facts of every vignette, by the policy it is judged by, and what is said of them today."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[PatientSnapshot, list[Finding]]]] = {p: [] for p in policy_ids()}
        for _, _, row in rows():
            name = row.get("policy", "us-label-2025")
            facts = facts_of(row)
            self._rows[name].append((facts, evaluate(facts, policies.policy_by_id(name), NOW)))

    def notice(self, changed: Policy) -> bool:
        """True when somebody is told something else; who noticed is asked first the next time."""
        asked = self._rows[changed.id]
        for index, (facts, said) in enumerate(asked):
            if evaluate(facts, changed, NOW) != said:
                asked.insert(0, asked.pop(index))
                return True
        return False


def numbers(node: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of the numbers of a file."""
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(node, dict):
        items = ((key, child) for key, child in node.items() if key != "sources")
    elif isinstance(node, list):
        items = iter(enumerate(node))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path
    for key, child in items:
        yield from numbers(child, (*path, key))


def changed(content: dict[str, Any], path: Path, sign: int) -> dict[str, Any]:
    """The file with one number a step larger or smaller."""
    result = copy.deepcopy(content)
    node: Any = result
    for step in path[:-1]:
        node = node[step]
    number = node[path[-1]]
    step_by = max(_STEP, abs(number) * _HUNDREDTH) if abs(number) >= _STEP else abs(number) * 0.1 or _STEP
    node[path[-1]] = number + sign * (round(step_by) if isinstance(number, int) else step_by)
    return result


def with_file(name: str, content: dict[str, Any]) -> Iterator[Policy]:
    """The shipped policies that hold the file, with another content of it."""
    read = policies._read

    def reading(path: Any) -> dict[str, Any]:
        own: dict[str, Any] = copy.deepcopy(content) if path.name == f"{name}.toml" else read(path)
        return own

    policies._read = reading
    try:
        for policy_id in policy_ids():
            inherited = _lineage(policy_id)
            if name in inherited:
                resolved = policies.resolve(POLICY_FILES / f"{policy_id}.toml")
                yield msgspec.convert(filled(policies.stated(resolved)), Policy)
    finally:
        policies._read = read


def _lineage(policy_id: str) -> list[str]:
    found = [policy_id]
    while parent := tomllib.loads((POLICY_FILES / f"{found[-1]}.toml").read_text()).get("inherits", ""):
        found.append(parent)
    return found


def survivors(name: str, patients: Patients) -> Iterator[str]:
    """Changes of a file's numbers that nobody notices."""
    content = tomllib.loads((POLICY_FILES / f"{name}.toml").read_text())
    for path in numbers(content):
        for sign, word in ((1, "larger"), (-1, "smaller")):
            if not any(patients.notice(policy) for policy in with_file(name, changed(content, path, sign))):
                yield f"{name}: {_written(content, path)} {word}"


def _written(content: Any, path: Path) -> str:
    words = []
    for step in path:
        content = content[step]
        words.append((name_of(content) if isinstance(content, dict) else "") or str(step))
    return ".".join(words)


def main() -> int:
    """Try every number of the files named, or of all."""
    names = sys.argv[1:] or ["common", *policy_ids()]
    patients = Patients()
    count = 0
    for name in names:
        for survivor in survivors(name, patients):
            print(survivor, flush=True)
            count += 1
    print(f"{count} changes nobody noticed")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
