"""The answers of the clinical core, to compare two versions: every vignette at every hook under every policy, and every example.

    python -m tools.answers write var/answers-before.tsv        in the one version
    python -m tools.answers compare var/answers-before.tsv      in the other: names what differs
    python -m tools.answers show "gaps: a day missed | order-sign | us-label-2025"

A line is the name of a question and a digest of its findings and cards, texts included. A change that only moves or renames code must
leave every line as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import ORDER_HOOKS
from service.alerts.facts.practice import Practice
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.say.cards import cards_of
from service.judge import judge
from tests.alerts.vignette import facts_of, practice_of, rows
from tests.data import NOW

HOOKS = (
    *sorted(ORDER_HOOKS),
    "patient-view", "encounter-start", "encounter-discharge",
)  # fmt: skip
#: So many questions are named, from all over: one out of each few.
_NAMED = 20
_EXAMPLES = Path(__file__).parents[1] / "examples"


def answers(only: str = "") -> Iterator[tuple[str, str]]:
    """(question, answer as JSON), for the questions whose name begins with ``only``."""
    for name, _, row in rows():
        if not name.startswith(only.split(" | ")[0]):
            continue
        facts, practice = facts_of(row), practice_of(row, pathway=True)
        for hook in HOOKS:
            asked = replace(facts, hook=hook, drafts=facts.drafts if hook in ORDER_HOOKS else ())
            for policy_id in policy_ids():
                question = f"{name} | {hook} | {policy_id}"
                if question.startswith(only):
                    yield question, _of_facts(asked, policy_id, practice)
    for folder in sorted(p for p in _EXAMPLES.iterdir() if p.is_dir()):
        question = f"example | {folder.name}"
        if question.startswith(only):
            yield question, _of_request((folder / "request.json").read_bytes(), NOW)


def _of_facts(facts: Any, policy_id: str, practice: Practice) -> str:
    findings = evaluate(facts, policy_by_id(policy_id), NOW, practice)
    return _written([findings, cards_of(findings, facts.hook)])


def _of_request(body: bytes, as_of: datetime) -> str:
    is_bundle = json.loads(body).get("resourceType") == "Bundle"
    answer = judge(body, as_of=as_of, hook="patient-view" if is_bundle else None)
    cards = msgspec.to_builtins(answer.cards)
    for card in cards:  # every one has an id of its own, each time
        card.pop("uuid", None)
        for suggestion in card.get("suggestions") or ():
            suggestion.pop("uuid", None)
    return _written([answer.findings, cards])


def _written(what: object) -> str:
    return json.dumps(
        msgspec.to_builtins(what, str_keys=True, enc_hook=str), indent=1, default=str, sort_keys=True
    )


def _digest(answer: str) -> str:
    return hashlib.sha256(answer.encode()).hexdigest()[:16]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("write", "compare", "show"))
    parser.add_argument("what", help="a file; for show the beginning of a question")
    parser.add_argument("--only", default="", help="questions whose name begins so")
    given = parser.parse_args()
    if given.command == "show":
        for question, answer in answers(given.what):
            print(question, answer, sep="\n")
        return 0
    path = Path(given.what)
    if given.command == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            written = sum(file.write(f"{q}\t{_digest(a)}\n") > 0 for q, a in answers(given.only))
        print(f"{written} answers in {path}")
        return 0
    before = dict(line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    known = {q: d for q, d in before.items() if q.startswith(given.only)}
    now = {q: _digest(a) for q, a in answers(given.only)}
    differing = sorted(q for q in known.keys() & now.keys() if known[q] != now[q])
    for question in differing[:: len(differing) // _NAMED + 1]:
        print(f"differs: {question}")
    print(
        f"{len(known.keys() & now.keys())} questions asked of both: {len(differing)} differ; "
        f"{len(known.keys() - now.keys())} gone, {len(now.keys() - known.keys())} new"
    )
    return 1 if differing or known.keys() - now.keys() else 0


if __name__ == "__main__":
    sys.exit(main())
