"""The vignettes as pages that a pharmacist can read: the patient in words, who asks, under which policy, and what is to be said."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from service.alerts.knowledge.codes import coded_kinds
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding_codes import finding_codes, title_of
from tests.alerts.vignette import FOLDER

Row = dict[str, Any]

_HOOKS = {
    "order-sign": "an order is signed",
    "order-select": "an order is selected",
    "medication-verify": "a pharmacist verifies the order",
    "medication-refill": "a refill is asked for",
    "patient-view": "the chart is opened",
    "encounter-start": "the patient is admitted",
    "encounter-discharge": "the patient is discharged",
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
#: Words of the rows, and how a page has them. Order matters.
_PLAIN: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"10\*3/uL", "×10³/µL"),
    (r"/uL\b", "/µL"),
    (r"mm\[Hg\]", "mmHg"),
    (r"\bCel\b", "°C"),
    (r"from ([\d.]+) d to ([\d.]+) d\b", r"from \1 to \2 days ago"),
    (r"from ([\d.]+) h to ([\d.]+) h\b", r"from \1 to \2 hours ago"),
    (r"\bevery 1 d\b", "every day"),
    (r"\bevery (\d+) d\b", r"every \1 days"),
    (r"\bevery (\d+) h\b", r"every \1 hours"),
    (r"\bsince ([\d.]+) d to ([\d.]+) d\b", r"from \1 to \2 days ago"),
    (r"\bsince ([\d.]+) d\b(?! ago)", lambda m: f"for {_number(m[1], 'day')}"),
    (r"\bnot-taken\b", "not taken"),
    (r"\bentered-in-error\b", "entered in error"),
    (r"\bin-progress\b", "in progress"),
    (r" said (?=\d)", ", said "),
    (r" asserted$", " (when it was said)"),
    (r" told ([\d.]+)(?= )", r", label: \1"),
    (r"(?<![\d-])0 d ago", "today"),
    (r"(-?[\d.]+) d ago", lambda m: f"{_number(m[1], 'day')} ago"),
    (r"(-?[\d.]+) h ago", lambda m: f"{_number(m[1], 'hour')} ago"),
    (r"for (\d+) d\b", lambda m: f"for {_number(m[1], 'day')}"),
    (r"(\d+) d supply", r"\1 days' supply"),
    (r" x2\b", " twice daily"),
    (r" x3\b", " three times daily"),
    (r" x4\b", " four times daily"),
    (r"\bmr-(\d)\b", lambda m: f"the {_ORDINALS[int(m[1])]} order"),
    (r"'([^']+)'", r"“\1”"),
    (r"^code (\S+)", r"ICD-10 code \1"),
)


def _number(text: str, unit: str) -> str:
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"


def plain(text: str) -> str:
    """One entry of a row without the row's abbreviations."""
    for pattern, said in _PLAIN:
        text = re.sub(pattern, said, text)
    return text


def _steps(text: str) -> str:
    """“clozapine steps 12.5x1 25x2”: a titration, step by step."""
    match = re.match(r"((?:\S+ )*)clozapine steps ((?:[\d.]+x\d+ ?)+)(.*)", text)
    if match is None:
        return text
    steps = ", ".join(f"{mg} mg for {days} d" for mg, days in (step.split("x") for step in match[2].split()))
    return f"{match[1]}clozapine in steps: {steps}" + (f"; {match[3]}" if match[3] else "")


def _ordered(text: str) -> str:
    """An order: a dose of clozapine is one of each day unless the row says otherwise."""
    text = re.sub(r"\bsince ([\d.]+) d\b", lambda m: f"ordered {_number(m[1], 'day')} ago", text)
    text = re.sub(
        r" first in (\d+) ([hd])$",
        lambda m: f", first in {_number(m[1], 'hour' if m[2] == 'h' else 'day')}",
        text,
    )
    return plain(_steps(re.sub(r"(clozapine [\d.]+ mg)(?! x\d| every| at \w| written)", r"\1 a day", text)))


def _stated(text: str) -> str:
    """What the patient is said to take."""
    return plain(
        re.sub(r"\bsince ([\d.]+) d\b(?! to)", lambda m: f"from {_number(m[1], 'day')} ago on", text)
    )


def _given(text: str) -> str:
    """A dose of the chart, or a run of them."""
    run = re.fullmatch(r"every (\S+) h from (\S+) h to (\S+) h(.*)", text)
    if run:
        what, when = run[4].strip(), f"every {run[1]} hours from {run[2]} to {run[3]} hours ago"
    elif by_day := re.fullmatch(r"(\S+) d by day(.*)", text):
        what, when = by_day[2].strip(), f"on the day {_number(by_day[1], 'day')} ago"
    else:
        age, _, what = text.partition(" h")
        what, when = what.strip(), f"{_number(age, 'hour')} ago"
    words = {
        "not-done": "not given",
        "on-leave": "on leave, not given",
        "without-leave": "absent without leave, not given",
    }
    for word, said in words.items():
        if what.endswith(word):
            return f"{said} {when}"
    return f"{what or 'given'} {when}"


def _coded(kind: str) -> Callable[[str], str]:
    """Codes of answers in the service's own words for them."""

    def said(text: str) -> str:
        code, _, when = text.partition(" ")
        meaning = coded_kinds()[kind].answers.get(code)
        return plain(f"{meaning} {when}" if meaning else text)

    return said


def _test(text: str) -> str:
    """An order of a test, once or again and again."""
    test, _, often = text.partition(" every ")
    days = _number(often.removesuffix(" d"), "day") if often else ""
    return (f"LOINC {test}" if test[0].isdigit() else test) + (f" every {days}" if days else "")


_EMPTY = "nothing is on record but the patient"
_PARTS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("draft", "Ordered", _ordered),
    ("ordered", "Tests ordered", _test),
    ("standing", "Standing orders of tests", _test),
    ("on", "On record", _ordered),
    ("given", "Chart", _given),
    ("dispensed", "Dispensed", plain),
    ("stated", "Said of clozapine", _stated),
    ("counts", "Results", plain),
    ("problems", "Problems", plain),
    ("allergies", "Allergies", plain),
    ("pregnancy_tests", "Pregnancy tests", plain),
    ("pregnancy_status", "Pregnancy", _coded("pregnancy-status")),
    ("smoking", "Smoking", _coded("smoking")),
    ("unread", "Could not be read", str),
)


def patient(row: Row) -> str:
    """The patient and the order in question, in words."""
    said = []
    person = [row[key] for key in ("sex",) if key in row]
    if "born" in row:
        person.append(f"born {row['born']}" if row["born"] else "of unknown age")
    if person:
        said.append(", ".join(person))
    said += [
        f"*{title}:* " + "; ".join(say(text) for text in row[key])
        for key, title, say in _PARTS
        if row.get(key)
    ]
    if row.get("smoke_free_wards"):
        said.append("the wards are smoke-free")
    if row.get("clozapine_brand"):
        said.append(f"the site's patients take {row['clozapine_brand']}")
    return (
        ". ".join(part[0].upper() + part[1:] if part[0] != "*" else part for part in said) + "."
        if said
        else _EMPTY
    )


def expected(row: Row) -> str:
    """What must be said, the gravest first; nothing else of the file's subject may be."""
    rank = ("critical", "warning", "info")
    found = sorted(
        (tuple(reversed(text.split())) for text in row["expect"]), key=lambda f: (rank.index(f[0]), f[1])
    )
    return "<br>".join(f"**{severity}** {title_of(code)}" for severity, code in found) or "nothing"


def asked_by(row: Row) -> str:
    """Who asks."""
    placed = row.get("draft") or row.get("ordered")
    return _HOOKS[row.get("hook", "order-sign" if placed else "patient-view")]


def _cells(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _title(stem: str) -> str:
    """The name of a page, from the name of its file."""
    if stem.startswith("policy-"):
        return f"Policy {stem.removeprefix('policy-')}"
    words = stem.replace("-", " ")
    return words.replace("anc ", "ANC ", 1) if words.startswith("anc ") else words[0].upper() + words[1:]


def _words(lines: Iterable[str]) -> str:
    """The comment at the head of a file."""
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    return " ".join(said)


def _about(prefixes: list[str]) -> str:
    codes = [c for c in finding_codes() if any(c.startswith(p) for p in prefixes)]
    return ", ".join(f"{title_of(c)} (`{c}`)" for c in codes) if codes else ", ".join(prefixes)


def page(path: Path, note: str) -> str:
    """One file of vignettes."""
    text = path.read_text(encoding="utf-8")
    content = tomllib.loads(text)
    rows: list[Row] = content["vignette"]
    policies = Counter(row.get("policy", content.get("policy", "us-label-2025")) for row in rows)
    several = len(policies) > 1
    under = ", ".join(f"[{policy_by_id(p).title}](../policies/{p}.md)" for p in sorted(policies))
    parts = [
        note + f"# {_title(path.stem)}",
        _words(text.splitlines()),
        f"{len(rows)} patients, under {under}. What is said of other subjects than these is left out: {_about(content['about'])}.",
    ]
    header = ("shows", "patient", "asked when", *(("policy",) if several else ()), "is said")
    lines = [_cells(*header), "|" + "---|" * len(header)]
    for row in rows:
        policy = (f"`{row.get('policy', content.get('policy', 'us-label-2025'))}`",) if several else ()
        lines.append(_cells(row["name"], patient(row), asked_by(row), *policy, expected(row)))
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def index(paths: list[Path], note: str) -> str:
    """The list of all pages."""
    rows = []
    total = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        count = len(tomllib.loads(text)["vignette"])
        total += count
        rows.append(_cells(f"[{_title(path.stem)}]({path.stem}.md)", str(count), _words(text.splitlines())))
    intro = (
        f"{total} invented patients, and what the service must say of each. They are the tests of the clinical rules: a change of a rule that "
        "says anything else of one of them does not pass.\n\n"
        "How to read a row: *ordered* is the order that is being placed, *on record* are the orders of the record, "
        "*chart* the doses given. A dose of clozapine is one of each day. Every patient is a man born in 1984 unless the row says "
        "otherwise, and whatever a row does not name was looked for and is not there. *Nothing* means: nothing of the page's subject."
    )
    table = "\n".join([_cells("page", "patients", "subject"), "|---|---|---|", *rows])
    return "\n\n".join([note + "# Vignettes", intro, table]) + "\n"


def pages(note: str) -> dict[str, str]:
    """File name -> page, for every file of vignettes, and the list of them."""
    paths = sorted(FOLDER.glob("*.toml"))
    return {"README.md": index(paths, note)} | {f"{p.stem}.md": page(p, note) for p in paths}
