"""``python -m tools.mutations [FILE|knowledge|code …] [--only PART …]``: change each number by a step, and say which change no vignette notices.

Numbers of the policies' files, by the name of the file, with ``knowledge`` the days until drugs act and until they are gone, and with
``code`` the named numbers of ``service/alerts/case`` and ``service/alerts/rules``; with ``--only`` those that have one of the parts in their names. A number that can be changed without any patient being told something else is read by no rule, or no vignette
stands at its edge. Every vignette is evaluated under the policies that hold the number; finding, date, dose or text must change.
Exit 1 with survivors.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.facts.practice import Practice
from service.alerts.knowledge import classes
from service.alerts.knowledge.drugs import drugs
from service.alerts.policy import policy as policies
from service.alerts.policy.numbers import name_of
from service.alerts.policy.policy import POLICY_FILES, Policy, policy_by_id, policy_ids
from service.alerts.policy.prose import filled
from service.alerts.say.finding import Finding
from tests.alerts.vignette import facts_of, patients, practice_of
from tests.data import NOW

#: Smallest step that is tried, up and down; a larger number moves by its hundredth.
_STEP = 1.0
_HUNDREDTH = 0.01
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
CODE = "code"
KNOWLEDGE = "knowledge"
_DAYS = ("onset_days", "offset_days")

#: Numbers of which a smaller step says nothing.
STEPS: dict[str, float] = {
    # Counts have a day, no hour: of a weekly interval a seventh is the least that tells.
    "common: record.counts_apart_percent.value": 15,
}
#: Why no patient shows a change of a number; by its name, or by what its name begins with.
NO_PATIENT_SHOWS: dict[str, str] = {
    "au-2021: dispensing.supply_by_interval.0.0": "supply ends with the next count, and that is the source named; the interval only finds the row",
    "au-2021: dispensing.supply_by_interval.1.0": "supply ends with the next count, and that is the source named; the interval only finds the row",
    "case.beside._WARNING": "a rank among severities",
    "case.remembered._KEPT_PER_KIND": "what the registry keeps between calls; tests/alerts/test_remembered.py asks of a patient with more",
    "case.supply_length.LONGEST_SUPPLY": "no life is so long; beyond it no calendar can count",
    "rules.asked._REMEMBERED": "the size of a cache",
    "case.together.ROUNDED": "takes up the digits of 0.3333 alone; a dose is written in whole milligrams",
    "case.together._A_MOMENT": "just after a change, however little",
    "rules.interaction_words._LONG": "between two and three times seven days no drug has its onset",
    "case.series._NEXT": "just after the newest result of a month, however little",
}

#: Constants of rules that say how much of a list, or of a text of the record, a card shows: no clinical numbers.
HOW_MUCH_IS_SHOWN = frozenset({"_SHOWN", "_NAMED", "_SHORT", "_AT_MOST_NAMED", "_MOST_CAUSES", "_MOST_REFS"})

Path = tuple[str | int, ...]


class Mutation(Struct, frozen=True):
    """One number a step larger or smaller. ``places``: where it stands in the file, several for a limit between two bands."""

    name: str
    places: tuple[Path, ...]
    sign: int

    @property
    def written(self) -> str:
        """``common: fever.early_days.value larger``."""
        return f"{self.name} {'larger' if self.sign > 0 else 'smaller'}"

    @property
    def reason(self) -> str:
        """Why no patient can show it; "" where one must."""
        if self.name.startswith("rules.") and self.name.rpartition(".")[2] in HOW_MUCH_IS_SHOWN:
            return "how much a card shows"
        return next((why for name, why in NO_PATIENT_SHOWS.items() if self.name.startswith(name)), "")


class Patients:
    """The facts of every vignette, by the policy it is judged by, and what is said of them today."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[PatientSnapshot, Practice, list[Finding]]]] = {
            p: [] for p in policy_ids()
        }
        self._written: list[tuple[dict[str, Any], str, list[Finding]]] = []
        for _, row, facts in patients():
            name = row.get("policy", "us-label-2025")
            practice = practice_of(row)
            said = evaluate(facts, policy_by_id(name), NOW, practice)
            self._rows[name].append((facts, practice, said))
            self._written.append((row, name, said))

    def notice(self, changed: Policy) -> bool:
        """True when somebody is told something else; who noticed is asked first the next time."""
        asked = self._rows[changed.id]
        for index, (facts, practice, said) in enumerate(asked):
            if evaluate(facts, changed, NOW, practice) != said:
                asked.insert(0, asked.pop(index))
                return True
        return False

    def notice_when_read(self) -> bool:
        """True when somebody is told something else once the records are read anew, under the policies as they are."""
        return any(
            evaluate(facts_of(row), policy_by_id(name), NOW, practice_of(row)) != said
            for row, name, said in self._written
        )


# -- numbers of a policy's file -------------------------------------------------------------------------------


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


def of_file(name: str) -> list[Mutation]:
    """Every change of a file's numbers. A limit between two bands is one number: both sides of it move."""
    content = _content(name)
    places = list(numbers(content))
    lower_sides = {place for place in places if _upper_side(content, place) is not None}
    found = []
    for place in places:
        if place in lower_sides:
            continue
        together = (place, *(p for p in lower_sides if _upper_side(content, p) == place))
        written = f"{name}: {_written(content, place)}"
        found += [Mutation(written, together, sign) for sign in (1, -1)]
    return found


def _content(name: str) -> dict[str, Any]:
    return tomllib.loads((POLICY_FILES / f"{name}.toml").read_text())


def _upper_side(content: dict[str, Any], place: Path) -> Path | None:
    """Of a band's ``below`` the ``at_least`` of the band above it; None of any other number."""
    if len(place) != 3 or place[0] != "bands" or place[2] != "below":
        return None
    band = content["bands"][place[1]]
    for index, other in enumerate(content["bands"]):
        alike = all(other[key] == band[key] for key in ("population", "analyte"))
        if alike and other.get("at_least") == band["below"]:
            return ("bands", index, "at_least")
    return None


def changed(content: dict[str, Any], mutation: Mutation) -> dict[str, Any]:
    """The file with one number a step larger or smaller."""
    result = copy.deepcopy(content)
    for path in mutation.places:
        node: Any = result
        for key in path[:-1]:
            node = node[key]
        step = STEPS.get(mutation.name)
        node[path[-1]] = (
            _moved(node[path[-1]], mutation.sign) if step is None else node[path[-1]] + mutation.sign * step
        )
    return result


def _moved(number: Any, sign: int) -> Any:
    if isinstance(number, timedelta):
        return number + sign * (_HOUR if number % _DAY else _DAY)
    step_by = max(_STEP, abs(number) * _HUNDREDTH) if abs(number) >= _STEP else abs(number) * 0.1 or _STEP
    if isinstance(number, float) and _STEP < number < 2 * _STEP:
        step_by = (number - _STEP) * 0.5  # a factor: half of what it adds
    return number + sign * (round(step_by) if isinstance(number, int) else step_by)


def with_file(name: str, content: dict[str, Any]) -> Iterator[Policy]:
    """The shipped policies that hold the file, with another content of it."""
    read = policies._read

    def reading(path: Any) -> dict[str, Any]:
        own: dict[str, Any] = copy.deepcopy(content) if path.name == f"{name}.toml" else read(path)
        return own

    policies._read = reading
    try:
        for policy_id in policy_ids():
            if name in _lineage(policy_id):
                resolved = policies.resolve(POLICY_FILES / f"{policy_id}.toml")
                yield msgspec.convert(filled(policies.stated(resolved)), Policy)
    finally:
        policies._read = read


def _lineage(policy_id: str) -> list[str]:
    found = [policy_id]
    while parent := tomllib.loads((POLICY_FILES / f"{found[-1]}.toml").read_text()).get("inherits", ""):
        found.append(parent)
    return [*found[:-1], *(shared for shared, _ in policies.shared_versions())]


def _written(content: Any, path: Path) -> str:
    words = []
    for step in path:
        content = content[step]
        words.append((name_of(content) if isinstance(content, dict) else "") or str(step))
    return ".".join(words)


# -- named numbers of the code --------------------------------------------------------------------------------


def of_code() -> list[Mutation]:
    """Every change of a named number of ``case`` and ``rules``: ``counts._SAME_SAMPLE``."""
    found = []
    for module in _modules():
        for constant, value in vars(module).items():
            own = constant.isupper() and _is_number(value) and _defined_in(module, constant)
            found += [Mutation(f"{_short(module)}.{constant}", ((module.__name__, constant),), sign) for sign in (1, -1) if own]  # fmt: skip
    return found


def _modules() -> list[ModuleType]:
    found = []
    for wing in ("case", "rules"):
        package = importlib.import_module(f"service.alerts.{wing}")
        names = (info.name for info in pkgutil.iter_modules(package.__path__))
        found += [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return found


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix("service.alerts.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | timedelta) and not isinstance(value, bool)


def _defined_in(module: ModuleType, constant: str) -> bool:
    """True where the number is written; elsewhere it is imported."""
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        return any(line.startswith((f"{constant} =", f"{constant}: ")) for line in file)


@contextmanager
def with_constant(module_name: str, constant: str, sign: int) -> Iterator[None]:
    """The number changed in its module and wherever it is imported."""
    value = getattr(sys.modules[module_name], constant)
    holders = [m for m in _modules() if vars(m).get(constant) is value]
    for holder in holders:
        setattr(holder, constant, _moved(value, sign))
    try:
        yield
    finally:
        for holder in holders:
            setattr(holder, constant, value)


# -- days of the drugs and their classes ----------------------------------------------------------------------


def of_knowledge() -> list[Mutation]:
    """Every change of a day of ``drugs.toml`` and ``interactions.toml``: ``knowledge: carbamazepine.offset_days``."""
    return [
        Mutation(f"{KNOWLEDGE}: {owner}.{field}", ((owner, field),), sign)
        for owner, record in _records().items()
        for field in _DAYS
        if getattr(record, field)
        for sign in (1, -1)
    ]


def _records() -> dict[str, Struct]:
    """Classes and drugs by id."""
    return {**classes.classes(), **drugs()}


@contextmanager
def with_days(owner: str, field: str, sign: int) -> Iterator[None]:
    """The days of one class or drug changed."""
    record = _records()[owner]
    value = getattr(record, field)
    try:
        _set_days(record, field, _moved(value, sign))
        yield
    finally:
        _set_days(record, field, value)


def _set_days(record: Struct, field: str, days: int) -> None:
    msgspec.structs.force_setattr(record, field, days)
    for derived in (classes.onset_days, classes.offset_days, classes.longest_offset_days):
        derived.cache_clear()


# -- all of them ----------------------------------------------------------------------------------------------


def is_noticed(mutation: Mutation, patients: Patients) -> bool:
    """True when some patient is told something else."""
    if ": " not in mutation.name:
        module, constant = mutation.places[0]
        with with_constant(str(module), str(constant), mutation.sign):
            asked = any(patients.notice(policy_by_id(policy_id)) for policy_id in policy_ids())
            return asked or patients.notice_when_read()
    name = mutation.name.partition(":")[0]
    if name == KNOWLEDGE:
        owner, field = mutation.places[0]
        with with_days(str(owner), str(field), mutation.sign):
            return any(patients.notice(policy_by_id(policy_id)) for policy_id in policy_ids())
    return any(patients.notice(policy) for policy in with_file(name, changed(_content(name), mutation)))


def mutations(names: list[str], parts: Sequence[str] = ()) -> list[Mutation]:
    """Every change of what is named: files, ``knowledge`` and ``code``; of numbers with one of the parts in their names, if any are given."""
    of = {CODE: of_code, KNOWLEDGE: of_knowledge}
    found = [m for name in names for m in (of[name]() if name in of else of_file(name))]
    return [m for m in found if not parts or any(part in m.name for part in parts)]


def main() -> int:
    """Try every number of what is named, or of all."""
    patients = Patients()
    survivors = explained = 0
    names, parts = sys.argv[1:], []
    if "--only" in names:
        cut = names.index("--only")
        names, parts = names[:cut], names[cut + 1 :]
    everything = [*(shared for shared, _ in policies.shared_versions()), *policy_ids(), KNOWLEDGE, CODE]
    for mutation in mutations(names or everything, parts):
        if mutation.reason:
            explained += 1
        elif not is_noticed(mutation, patients):
            print(mutation.written, flush=True)
            survivors += 1
    print(f"{survivors} changes nobody noticed; {explained} that no patient shows, with a stated reason")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
