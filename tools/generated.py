"""Files made from the code and the data: ``python -m tools.generated --write`` makes them, ``--check`` says which are stale."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from service.alerts.case.beside import base_severity
from service.alerts.knowledge.brands import COUNTRIES, countries
from service.alerts.knowledge.catalogue import override_reasons, reason_sets
from service.alerts.knowledge.classes import alerting_classes_of, classes, offset_days, onset_days
from service.alerts.knowledge.code_systems import RXNORM, SNOMED
from service.alerts.knowledge.codes import coded_kinds, kinds, title
from service.alerts.knowledge.concerns import concerns
from service.alerts.knowledge.conditions import contraindications
from service.alerts.knowledge.demotions import demotions
from service.alerts.knowledge.drugs import drug_ids, drugs, names_of
from service.alerts.knowledge.equivalents import all_equivalents, methods, unclear_depots
from service.alerts.knowledge.no_card import without_card
from service.alerts.knowledge.not_understood import not_understood_kinds
from service.alerts.knowledge.product_codes import coded
from service.alerts.knowledge.products import atc, product_rows
from service.alerts.knowledge.test_words import kinds_of_words
from service.alerts.policy.check import unconfirmed
from service.alerts.policy.patient_sheet import patient_sheet
from service.alerts.policy.policy import Policy, policy_by_id, policy_ids
from service.alerts.policy.reference import reference_words
from service.alerts.policy.sheet import in_force, sheet
from service.alerts.rules import RULES
from service.alerts.say.finding_codes import finding_codes, urgency
from service.fhir.resources import AnyResource
from service.web.openapi import document
from tools import asvs, statements
from tools.noise import table
from tools.vignette_pages import pages as vignette_pages

ROOT = Path(__file__).parent.parent
_BEFORE = ROOT / "tools" / "noise-before.md"
_NOTE = "<!-- Generated from the data by `make generated`; do not edit. -->\n\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    return "\n".join([_row(*header), "|" + "---|" * len(header), *(_row(*r) for r in rows)])


def _confirmed(value: bool) -> str:
    return "" if value else "**not confirmed**"


def policy_page(policy: Policy) -> str:
    """A policy as a page of the documentation."""
    parts = [
        _NOTE + f"# {policy.title}",
        policy.summary,
        f"`{policy.id}`, {policy.jurisdiction}, {in_force(policy)}.",
        *([f"**{reference}**"] if (reference := reference_words(policy)) else []),
        "\n".join(f"- {note}" for note in policy.notes),
    ]
    for part in sheet(policy):
        parts += [f"## {part.title}", *part.texts]
        if part.rows:
            rows = [
                tuple("**not confirmed**" if c == "not confirmed" else c for c in row) for row in part.rows
            ]
            parts.append(_table(part.header, rows))
    sources = (
        f"- **{key}** {s.title}" + (f", {s.date}" if s.date else "") for key, s in policy.sources.items()
    )
    return "\n\n".join([*parts, "## Sources", "\n".join(sources)]) + "\n"


def patient_sheet_page(policy: Policy) -> str:
    """The sheet for the patient of a policy, with what each line rests on."""
    parts = [
        _NOTE + f"# Sheet for the patient: {policy.title}",
        f"Served at `/policies/{policy.id}/patient` to be printed. The words stand in `service/alerts/policy/patient_sheet.toml`, the numbers are those of [the policy](../policies/{policy.id}.md). "
        "A line whose number is not confirmed carries a * on the sheet.",
        *([f"**{reference}** The sheet says so, too."] if (reference := reference_words(policy)) else []),
    ]
    for section in patient_sheet(policy):
        lines = [(x.says, "; ".join(x.basis), _confirmed(x.confirmed)) for x in section.lines]
        parts += [f"## {section.title}", _table(("line", "source", ""), lines)]
    return "\n\n".join(parts) + "\n"


def drugs_page() -> str:
    """Every drug and class."""
    parts = [
        _NOTE + "# Drugs and interaction classes",
        f"{len(drug_ids())} drugs are recognised by name; clozapine products by code too.",
    ]
    for group in classes().values():
        drugs = ", ".join(
            f"{names_of(d)[0]}{' (not confirmed)' if d in group.unconfirmed or not group.confirmed else ''}"
            for d in group.drugs
        )
        code = f"`{group.finding}`" if group.finding else "raises no finding by itself"
        severity = ", ".join(f"{k.replace('_', ' ')}: {v}" for k, v in group.severity.items())
        exceptions = ", ".join(f"{d}: {s}" for d, s in group.severity_of.items())
        parts.append(f"## {group.title[0].upper()}{group.title[1:]}")
        parts.append(f"{code}; source {group.source} {group.section}".rstrip() + ".")
        if group.mechanism:
            parts.append(f"{group.mechanism} {group.says} {group.stopped_says}".rstrip())
        if severity:
            parts.append(f"Severity – {severity}" + (f"; {exceptions}" if exceptions else "") + ".")
        parts.append(drugs + ".")
    parts += ["# Brands by country", *_brand_coverage()]
    parts.append("# Known, and no card is drawn")
    for known in without_card():
        doubt = "" if known.confirmed else " Not confirmed: to be reviewed by the site's pharmacist."
        parts.append(f"## {known.title[0].upper()}{known.title[1:]}")
        parts.append(f"{known.reason} Source: {known.source}.{doubt}")
        parts.append(", ".join(known.names) + ".")
    return "\n\n".join(parts) + "\n"


def _drug_rows() -> list[tuple[object, ...]]:
    """Every drug: its classes with the severity each has for it, what leads, days, and where its place in a class was read."""
    rows: list[tuple[object, ...]] = []
    for drug_id, drug in drugs().items():
        of_drug = [classes()[c] for c in drug.classes]
        severities = [
            f"{c.id} ({base_severity(c, drug_id)}{', visits' if c.id in drug.visits_only else ''})"
            if c.finding
            else c.id
            for c in of_drug
        ]
        moving = next((c for c in of_drug if c.stopped), None)
        days = f"{onset_days(drug_id, moving.id)} / {offset_days(drug_id, moving.id)}" if moving else ""
        sources = "; ".join(dict.fromkeys(f"{c.source} {c.section}".strip() for c in of_drug if c.finding))
        doubt = ", ".join(drug.unconfirmed)
        rows.append(
            (
                names_of(drug_id)[0],
                ", ".join(severities) or drug.no_class,
                ", ".join(drug.lead),
                days,
                sources,
                doubt,
            )
        )
    return rows


_BASES = {
    "audit": "audit of interactions",
    "reference": "grade of the reference",
    "service": "**the service's own**: no source grades so",
}


def interactions_page() -> str:
    """Every drug with its classes, what is said more quietly and why, and how often the service speaks."""
    quieter = [
        (
            ", ".join(d.drugs) or d.situation, d.class_id, d.old, d.new + (", at visits only" if d.visits_only else ""), d.reason, d.source, _BASES[d.basis], _confirmed(d.confirmed),
        )
        for d in demotions()
    ]  # fmt: skip
    left = ", ".join(f"`{c.id}`" for c in classes().values() if c.may_be_left)
    watched: list[tuple[object, ...]] = [
        (name, g.reason, g.source)
        for g in without_card()
        if g.id not in ("none", "vaccine", "smoking")
        for name in g.names
    ]
    watched += [
        (names_of(i)[0], d.no_card, "reference table of interactions")
        for i, d in drugs().items()
        if d.no_card
    ]
    return (
        "\n\n".join(
            [
                _NOTE + "# Interactions: drugs, what leads, and how often the service speaks",
                "How a class acts, and what is advised, is on the page [drugs](drugs.md).",
                "## How often it speaks",
                "Cards for 100 ordinary orders, one by one, for a patient who is settled on clozapine with a laxative and with all monitoring done (`make noise`; "
                "`tests/ordinary-orders.csv`). *Weighted*: by an estimate of how often each is ordered. Drugs that are not known count as information.",
                _BEFORE.read_text(encoding="utf-8").strip(),
                "Now:",
                table(),
                "Where a policy follows EU or UK product information 7 of the 216 most prescribed drugs are critical (3.2 of 100; 1.1 weighted), above the aim of 2 for 100. They stay so. "
                "For five of them the documents speak: co-trimoxazole (sulfonamides) and carbamazepine are named, methotrexate is forbidden as a cytotoxic drug, paliperidone as a depot, "
                "which cannot be withdrawn when neutropenia occurs (the Japanese insert names it), ciprofloxacin asks for a third of the dose under every policy. Azathioprine and mycophenolate are "
                "forbidden only as drugs with a substantial risk of depressing the marrow: that they are such drugs is a judgement of this service, and leucopenia is among their most frequent effects.",
                "Information for the ward, weighted, stays above 15 for 100: lorazepam by mouth alone makes 8 of them, haloperidol 4, valproate 3. The reference advises against benzodiazepines, and the "
                "other two speak of the marrow and the heart: they are told once, at the order, and not again.",
                "## What is said more quietly, and why",
                "Drugs of a class, or situations, for which it is told more quietly than before. Each is a judgement to be reviewed by the site's pharmacist.",
                "It holds for a drug that stands alone in an ordinary patient. Beside another drug of the same effect, by injection (sedation, QT), with a QTc that is prolonged, a seizure on the "
                "list, a dose or level of clozapine that is high, without a laxative (bowel), or beside another drug that depresses the marrow it is told as its class is – unless both have been "
                "taken for longer than `interactions.long_standing_days`.",
                _table(
                    ("drugs or situation", "class", "old", "new", "reason", "source", "grounds", ""), quieter
                ),
                "Captopril and olanzapine by mouth: the clinical rules (clinical.md 2.4) list both among the drugs that policies of the EU, UK, Australia and New Zealand forbid beside "
                "clozapine; the reference table grades both “monitor”. The service follows the reference table.",
                "## What a site may leave to its EHR",
                f"`[interactions] left_to_ehr` of a policy names classes that the EHR's own interaction checker tells: {left}. Never CYP1A2, smoking, strong inducers, marrow, depots; and "
                "a bowel that is slow already is told all the same.",
                "## Watched by a pharmacist, no card",
                _table(("drug", "why", "source"), watched),
                "## Every drug",
                "Severity in brackets is that of a new order in a patient who is settled; days: until the effect on the clozapine level is full, and until it is gone (general pharmacology, "
                "not confirmed).",
                _table(
                    (
                        "drug",
                        "classes",
                        "leads",
                        "days",
                        "source of the class",
                        "place in the class not confirmed",
                    ),
                    _drug_rows(),
                ),
            ]
        )
        + "\n"
    )


def _brand_coverage() -> tuple[str, ...]:
    """How many of the drugs that draw a card, and clozapine, have brands of each country from a public file."""
    wanted = {d for d in drug_ids() if alerting_classes_of(d)} | {"clozapine"}
    rows: list[tuple[object, ...]] = []
    for code in COUNTRIES:
        country = countries().get(code)
        listed = country.brands if country is not None else {}
        found = {d for drugs in listed for d in drugs.split("+")} & wanted
        brands = sum(map(len, listed.values()))
        rows.append(
            (code, f"{len(found)} of {len(wanted)}", brands, country.source if country else "none found")
        )
    return (
        "Generic names are found in the spellings of European languages (`knowledge/spelling.py`). Brands whose public file was kept, by country; others, without such a file, stand with their drugs "
        "(`knowledge/drugs.toml`, `products.toml`). A brand that nobody knows here is named as not recognised.",
        _table(("country", "drugs with a brand", "brands", "source"), rows),
        _code_coverage(wanted),
    )


def _code_coverage(wanted: set[str]) -> str:
    """Of how many of these drugs products are known by code alone, by code system."""
    rows: list[tuple[object, ...]] = []
    for name, system in (("RxNorm", RXNORM), ("SNOMED CT and dm+d", SNOMED)):
        known = {code: meaning.drugs for (of, code), meaning in coded().items() if of == system}
        known |= {
            c: row.drugs
            for row in product_rows()
            if row.system == system
            for c in (row.code, *row.codes)
            if c
        }
        found = {drug for drugs in known.values() for drug in drugs} & wanted
        rows.append((name, f"{len(found)} of {len(wanted)}", len(known)))
    rows.append(
        (
            "ATC",
            f"{len({d for drugs in atc().values() for d in drugs} & wanted)} of {len(wanted)}",
            len(atc()),
        )
    )
    return _table(("codes of products and ingredients", "drugs", "codes"), rows)


def rules_page() -> str:
    """Every rule, by its own words."""
    rows: list[tuple[object, ...]] = [
        (f"`{r.__name__}`", r.__module__.rpartition(".")[2], (r.__doc__ or "").strip().splitlines()[0])
        for r in RULES
    ]
    results: list[tuple[object, ...]] = [
        (k.id, k.title, k.unit, ", ".join(k.loinc), _confirmed(k.confirmed)) for k in kinds().values()
    ]
    return (
        "\n\n".join(
            [
                _NOTE + "# Rules and results",
                "## Rules",
                _table(("rule", "module", "what it looks for"), rows),
                "## Dangers on the problem list",
                "What the rule `concern_on_the_list` says of each (`knowledge/concerns.toml`). No severity is confirmed before the site's pharmacist has done so.",
                _table(
                    (
                        "finding",
                        "problems",
                        "severity",
                        "in the first weeks",
                        "at a start, when older",
                        "source",
                        "",
                    ),
                    _concerns(),
                ),
                "## Results that are read",
                _table(("kind", "title", "unit", "LOINC", ""), results),
            ]
        )
        + "\n"
    )


def _concerns() -> list[tuple[object, ...]]:
    return [
        (
            f"`{code}`",
            ", ".join(kind.replace("-", " ") for kind in c.kinds),
            c.severity,
            c.early or "",
            c.before,
            f"{c.source} {c.section}",
            _confirmed(c.confirmed),
        )
        for code, c in concerns().items()
    ]


def findings_page() -> str:
    """Every code that a card, an alert, a resource written into the EHR or a setting may name."""
    order = urgency()
    parts = [
        _NOTE + "# Findings",
        "Each card is about one finding. Its code stands in `source.topic` of the card, in `DetectedIssue.code`, in feedback, alerts and audit trail, and in the setting `shadow_codes`. "
        "How severe a finding is, each rule and policy decide.",
        "- **told at** – orders (order-select, order-sign, medication-verify, medication-refill), visits (patient-view, encounter-start, encounter-discharge), or single hooks; an `info` finding at an order only when it "
        "bears on that order.\n"
        "- **urgent** – its place among equally severe findings; the others follow by their code.\n"
        "- **overrides** – the set of reasons that its warnings and critical cards offer.\n"
        "- **critical** – *stops*: clozapine must stop or not be started, nobody can close its alert; *always said*: no override silences it either.\n"
        "- **written as** – what the sweep may write into the EHR for it, beside CommunicationRequest and DetectedIssue, which every finding may become.\n"
        "- **patient sheet** – the section of the sheet for the patient ([sheets](patient-sheets)) that its cards link to; *whole*: the sheet from its top.",
    ]
    by_topic: dict[str, list[tuple[object, ...]]] = {}
    for code, f in finding_codes().items():
        critical = [word for word, holds in (("stops", f.stops), ("always said", f.always_said)) if holds]
        by_topic.setdefault(f.topic, []).append(
            (f"`{code}`", f.title, f.means, ", ".join(f.hooks), order[code] + 1 if code in order else "", ", ".join(f.overrides), ", ".join(critical), ", ".join(f.told_as), f.patient_sheet.replace("-", " "))
        )  # fmt: skip
    header = (
        "code",
        "title",
        "means",
        "told at",
        "urgent",
        "overrides",
        "critical",
        "written as",
        "patient sheet",
    )
    for topic, rows in by_topic.items():
        parts += [f"## {topic}", _table(header, rows)]
    reasons = [(set_id, "; ".join(r.display for r in override_reasons(set_id))) for set_id in reason_sets()]
    return "\n\n".join([*parts, "## Override reasons", _table(("set", "reasons"), reasons)]) + "\n"


def equivalents_page() -> str:
    """Every dose that a table of chlorpromazine equivalents holds, the methods side by side."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for e in all_equivalents():
        every = "a day" if e.every_days == 1 else f"every {e.every_days} days"
        key = (e.drug, e.form, e.preparation)
        rows.setdefault(key, {})[e.source] = f"{e.mg:g} mg {every} = {e.equals:g} mg"
    known = set(drug_ids())
    parts = [
        _NOTE + "# Chlorpromazine equivalents",
        "What the pathway of the difficult to treat holds equal to so much chlorpromazine a day by mouth (`knowledge/equivalents.toml`). Equivalents are estimates: both methods are shown on the card, and "
        "the smaller figure decides whether a trial was strong enough. A depot counts by what it gives a day on average: its dose over its interval. Figures are rounded to "
        "`pathway.chlorpromazine_step_mg` before they are compared.",
        "\n".join(f"- **{m.title}** (`{key}`): {m.says} {m.by}. <{m.url}>" for key, m in methods().items()),
        _table(
            ("drug", "form", "preparation", *(m.title for m in methods().values()), ""),
            [
                (drug, form, preparation, *(found.get(key, "–") for key in methods()), "" if drug in known else "not recognised in orders")
                for (drug, form, preparation), found in sorted(rows.items())
            ],
        ),
        "## Depots that are not converted",
        "\n".join(f"- {drug}: {why}." for drug, why in unclear_depots().items()),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def unconfirmed_page() -> str:
    """Every number, code and drug that nobody has read in the primary text yet."""
    shared = set.intersection(*(set(unconfirmed(policy_by_id(policy_id))) for policy_id in policy_ids()))
    parts = [
        _NOTE + "# Not confirmed against the primary text",
        "Read in secondary sources only, or decided by this service. Cards and policy pages say so beside the number. Whoever confirms one sets `confirmed` in the data file and cites the text.",
        "## In every policy",
        "\n".join(f"- `{path}`" for path in sorted(shared)),
    ]
    for policy_id in policy_ids():
        own = sorted(set(unconfirmed(policy_by_id(policy_id))) - shared)
        parts += [
            f"## {policy_by_id(policy_id).title}",
            "\n".join(f"- `{path}`" for path in own) or "Nothing further.",
        ]
    codes = [f"- {k.title}: {', '.join(k.loinc)}" for k in kinds().values() if not k.confirmed]
    parts += ["## LOINC codes of results", "\n".join(codes)]
    others = [
        f"- {row.label}: {row.system} {', '.join(c for c in (row.code, *row.codes) if c)}"
        for row in product_rows()
        if not row.confirmed
    ]
    parts += ["## Codes of products", "\n".join(others)]
    drugs = [
        f"- {group.title}: {', '.join(names_of(d)[0] for d in (group.drugs if not group.confirmed else group.unconfirmed))}"
        for group in classes().values()
        if group.unconfirmed or not group.confirmed
    ]
    parts += ["## Drugs in interaction classes", "\n".join(drugs)]
    problems = [
        f"- {c.title}: {c.source} {c.section}" for c in contraindications().values() if not c.confirmed
    ]
    parts += ["## Contraindications", "\n".join(problems)]
    dangers = [
        f"- `{code}`: {c.severity}; {c.source} {c.section}"
        for code, c in concerns().items()
        if not c.confirmed
    ]
    parts += ["## Dangers on the problem list", "\n".join(dangers)]
    return "\n\n".join(parts) + "\n"


def statements_page() -> str:
    """What the literature says, line by line, and which finding, page or sheet has it."""
    header = (
        "statement",
        "source",
        "finding",
        "stands also, or instead, in",
        "shown by",
        "why not, or what to know",
    )
    parts = [
        _NOTE + "# What the literature says, and where it stands",
        statements.introduction(),
        _table(header, statements.rows()),
    ]
    return "\n\n".join(parts) + "\n"


_LIMITS = "<!-- not understood: generated by `make generated` from here to the end -->"


def limits_page(written: str) -> str:
    """The page of limits: what people wrote, then what is still not understood, from the tables."""
    by_words = [
        (title(kind), ", ".join(f"“{part}…”" for part in words.part), ", ".join(words.word))
        for kind, words in kinds_of_words().items()
    ]
    others = [k.title for k in kinds().values() if k.id not in kinds_of_words()]
    types = sorted(str(t.__struct_config__.tag) for t in AnyResource.__args__)
    parts = [
        written.partition(_LIMITS)[0].rstrip() + "\n\n" + _LIMITS,
        "## Still not understood",
        "The ledger (`clozapine-cds check --explain`, `ehr check --patient`, `clozapine_cds_not_understood_total`) counts it by these kinds.",
        _table(
            ("kind", "what it is", "when a card says so", "what helps"),
            [(f"`{kind}`", k.means, k.said, k.remedy) for kind, k in not_understood_kinds().items()],
        ),
        "### Results without a known code",
        "By their words alone these are shown as not usable, never judged; words of another specimen than blood make them something else.",
        _table(("kind", "beginnings of words", "whole words"), by_words),
        f"All others are found by LOINC (or a site's own) codes alone: {', '.join(others)}; answers to {', '.join(k.replace('-', ' ') for k in coded_kinds())}.",
        "### Resources",
        f"Read: {', '.join(types)}. A QuestionnaireResponse, a document and a List are not looked into.",
    ]
    return "\n\n".join(parts) + "\n"


def files() -> dict[Path, bytes]:
    """Every generated file and what it must hold."""
    made = {ROOT / "openapi" / "openapi.json": orjson.dumps(document(), option=orjson.OPT_INDENT_2) + b"\n"}
    made[ROOT / "docs" / "drugs.md"] = drugs_page().encode()
    made[ROOT / "docs" / "interactions.md"] = interactions_page().encode()
    made[ROOT / "docs" / "rules.md"] = rules_page().encode()
    made[ROOT / "docs" / "equivalents.md"] = equivalents_page().encode()
    made[ROOT / "docs" / "findings.md"] = findings_page().encode()
    limits = ROOT / "docs" / "limits.md"
    made[limits] = limits_page(limits.read_text(encoding="utf-8")).encode()
    made[ROOT / "docs" / "security" / "asvs.md"] = (_NOTE + asvs.page()).encode()
    made[ROOT / "docs" / "clinical-safety" / "unconfirmed.md"] = unconfirmed_page().encode()
    made[ROOT / "docs" / "clinical-safety" / "statements.md"] = statements_page().encode()
    for name, text in vignette_pages(_NOTE).items():
        made[ROOT / "docs" / "vignettes" / name] = text.encode()
    for policy_id in policy_ids():
        policy = policy_by_id(policy_id)
        made[ROOT / "docs" / "policies" / f"{policy_id}.md"] = policy_page(policy).encode()
        made[ROOT / "docs" / "patient-sheets" / f"{policy_id}.md"] = patient_sheet_page(policy).encode()
    return made


def main() -> int:
    """Write or check."""
    write = "--write" in sys.argv
    made = files()
    stale = [path for path, content in made.items() if not path.is_file() or path.read_bytes() != content]
    kept = {path for path in made if path.parent.name == "vignettes"}
    gone = [p for p in sorted((ROOT / "docs" / "vignettes").glob("*.md")) if p not in kept]
    for path in gone:
        if write:
            path.unlink()
        else:
            print(f"{path.relative_to(ROOT)} is of no vignettes any more: run 'make generated'")
    for path in stale:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made[path])
        else:
            print(f"{path.relative_to(ROOT)} is stale: run 'make generated'")
    if not write and not stale and not gone:
        print("generated files: current")
    return int(bool(stale or gone) and not write)


if __name__ == "__main__":
    sys.exit(main())
