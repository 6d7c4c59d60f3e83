"""A miniature RxNorm release in the real column layout. The content is made for these tests; CUIs above 9 000 000 are invented."""

from __future__ import annotations

import zipfile
from pathlib import Path

#: rxcui, term type, name
CONCEPTS = (
    ("2626", "IN", "clozapine"),
    ("9000001", "SCDC", "clozapine 50 MG"),
    ("9000002", "SCD", "clozapine 50 MG Oral Tablet"),
    ("9000003", "BN", "Testazapin"),
    ("9000004", "SBD", "clozapine 50 MG Oral Tablet [Testazapin]"),
    ("9000005", "BPCK", "{7 (clozapine 50 MG Oral Tablet [Testazapin]) } Pack [Testazapin Week]"),
    ("42355", "IN", "fluvoxamine"),
    ("9000010", "PIN", "fluvoxamine maleate"),
    ("9000011", "SCD", "fluvoxamine maleate 150 MG Extended Release Oral Capsule"),
    ("9000020", "IN", "nonsensamycin"),
    ("9000021", "SCD", "nonsensamycin 10 MG Oral Tablet"),
    ("2551", "IN", "ciprofloxacin"),
    ("9000030", "SCD", "ciprofloxacin 3 MG/ML Ophthalmic Solution"),
    ("9000040", "IN", "atorvastatin"),
    ("9000041", "BN", "Testastatin"),
    ("9000042", "SCD", "atorvastatin 10 MG Oral Tablet"),
    ("9000043", "SCD", "atorvastatin 10 MG / nonsensamycin 5 MG Oral Tablet"),
)
#: first, second, relation: "second RELATION first", as RXNREL writes it
RELATIONS = (
    ("2626", "9000001", "has_ingredient"),
    ("9000001", "9000002", "consists_of"),
    ("9000002", "9000001", "constitutes"),
    ("2626", "9000003", "tradename_of"),
    ("9000002", "9000004", "tradename_of"),
    ("9000004", "9000005", "contains"),
    ("42355", "9000010", "form_of"),
    ("9000010", "9000011", "has_precise_ingredient"),
    ("9000020", "9000021", "has_ingredient"),
    ("2551", "9000030", "has_ingredient"),
    ("9000040", "9000041", "tradename_of"),
    ("9000040", "9000042", "has_ingredient"),
    ("9000040", "9000043", "has_ingredient"),
    ("9000020", "9000043", "has_ingredient"),
)
NDCS = (
    ("9000002", "00093440501"),
    ("9000004", "0078-0127-05"),
    ("9000021", "11111111111"),
    ("9000030", "55555-444-22"),
)


def _conso(rxcui: str, term_type: str, name: str) -> str:
    fields = [
        rxcui,
        "ENG",
        "",
        "",
        "",
        "",
        "",
        f"{rxcui}0",
        "",
        rxcui,
        "",
        "RXNORM",
        term_type,
        rxcui,
        name,
        "",
        "N",
        "4096",
    ]
    return "|".join(fields) + "|"


def _rel(first: str, second: str, relation: str) -> str:
    return (
        "|".join(
            [first, "", "CUI", "RO", second, "", "CUI", relation, "1", "", "RXNORM", "RXNORM", "", "", "", ""]
        )
        + "|"
    )


def _sat(rxcui: str, value: str) -> str:
    return "|".join([rxcui, "", "", "", "", "", "", "", "NDC", "RXNORM", value, "", ""]) + "|"


def files() -> dict[str, str]:
    """The three files."""
    return {
        "RXNCONSO.RRF": "\n".join(_conso(*c) for c in CONCEPTS) + "\n",
        "RXNREL.RRF": "\n".join(_rel(*r) for r in RELATIONS) + "\n",
        "RXNSAT.RRF": "\n".join(_sat(*n) for n in NDCS) + "\n",
    }


def folder(path: Path, **replaced: str) -> Path:
    """The release as a folder."""
    rrf = path / "rrf"
    rrf.mkdir(parents=True)
    for name, content in (files() | replaced).items():
        (rrf / name).write_text(content, encoding="utf-8")
    return path


def archive(path: Path) -> Path:
    """The release as the zip file that is handed out, with its "prescribe" subset."""
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("prescribe/rrf/RXNCONSO.RRF", _conso(*CONCEPTS[0]) + "\n")
        for name, content in files().items():
            zipped.writestr(f"rrf/{name}", content)
    return path
