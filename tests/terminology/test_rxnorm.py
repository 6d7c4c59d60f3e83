"""RxNorm release files: every product, brand, pack and NDC of a named drug is recognised by code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.alerts.knowledge import ndc
from service.alerts.knowledge.products import imported_product, install, product_by_code
from service.store.database import engine_for, upgrade
from service.terminology.rxnorm import SYSTEM, TerminologyError, read_release
from service.terminology.terminology import load, store
from tests import data
from tests.command import command
from tests.data import NOW, bundle, call, codes, prefetch
from tests.terminology import release

StartService = Callable[..., httpx.Client]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    from service.fhir.medication import forget_identified

    install({}, "")
    forget_identified()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/terminology.db"
    return str(request.getfixturevalue("postgres_url"))


def _by_code(found: Any) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(e.system, e.code): e.drugs for e in found.entries}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_every_level_leads_to_its_ingredient(tmp_path: Path, form: str) -> None:
    path = (
        release.folder(tmp_path / "RxNorm_full_11022026")
        if form == "folder"
        else release.archive(tmp_path / "RxNorm_full_11022026.zip")
    )
    found = read_release(path)
    known = _by_code(found)
    assert found.name == "RxNorm 2026-11-02"
    for code in ("2626", "9000001", "9000002", "9000003", "9000004", "9000005"):
        assert known[SYSTEM, code] == ("clozapine",), code
    assert known[SYSTEM, "9000011"] == ("fluvoxamine",)
    assert known[ndc.SYSTEM, "00093440501"] == ("clozapine",)
    assert known[ndc.SYSTEM, "00078012705"] == ("clozapine",)
    assert not any(code == "9000021" for _, code in known), "a drug nobody asks for is not kept"
    assert not any(code == "11111111111" for _, code in known)
    for code in ("9000040", "9000041", "9000042"):
        assert known[SYSTEM, code] == (), "made of nothing but drugs that draw no card: known, and quiet"
    assert (SYSTEM, "9000043") not in known, "one ingredient nobody knows leaves the product unknown"


@pytest.mark.parametrize(
    ("written", "forms"),
    [
        ("0093-4405-01", ("00093440501",)),
        ("55555-444-22", ("55555044422",)),
        ("55555-4444-2", ("55555444402",)),
        ("00093440501", ("00093440501",)),
        ("0093440501", ("00093440501", "00934040501", "00934405001")),
        ("93-4405", ()),
        ("clozapine", ()),
    ],
)
def test_ndc_forms(written: str, forms: tuple[str, ...]) -> None:
    assert ndc.candidates(written) == forms


def test_a_second_import_replaces_the_first(url: str, tmp_path: Path) -> None:
    upgrade(url)
    engine = engine_for(url)
    found = read_release(release.folder(tmp_path / "RxNorm_full_11022026"))
    store(engine, found, NOW)
    store(engine, found, NOW)
    assert load(engine) == len(found.entries)
    product = product_by_code(SYSTEM, "9000004")
    assert product is not None
    assert product.drugs == ("clozapine",)
    assert imported_product(ndc.SYSTEM, "0078-0127-05") == product
    shipped = product_by_code(SYSTEM, "197535")
    assert shipped is not None
    assert shipped.mg == 100, "what ships with a strength wins"
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("RXNCONSO.RRF", "2626|ENG|clozapine|\n", "RXNCONSO.RRF, line 1: 18 columns"),
        ("RXNSAT.RRF", release.files()["RXNSAT.RRF"] + "x|y\n", "RXNSAT.RRF, line 5: 13 columns"),
        ("RXNCONSO.RRF", "", "holds no RXNORM concept"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(TerminologyError, match=says):
        read_release(release.folder(tmp_path / "r", **{name: content}))


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TerminologyError, match="is missing"):
        read_release(tmp_path / "empty")
    with pytest.raises(TerminologyError, match="zip file"):
        read_release(tmp_path / "nowhere")


def _cli(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, env={"CLOZAPINE_CDS_DATABASE_URL": url, "COLUMNS": "300"})


def test_commands(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cli.db"
    folder = str(release.folder(tmp_path / "RxNorm_full_11022026"))
    early = _cli(url, "terminology", "import", folder)
    assert (early.returncode, "run clozapine-cds db upgrade" in early.stderr) == (1, True)
    upgrade(url)
    unknown = _cli(url, "terminology", "lookup", "9000004")
    assert unknown.returncode == 1
    assert "No terminology is imported" in unknown.stderr
    done = _cli(url, "terminology", "import", folder, "--json")
    assert json.loads(done.stdout) == {"release": "RxNorm 2026-11-02", "products": 6, "codes": 17}
    found = _cli(url, "terminology", "lookup", "9000004")
    assert found.returncode == 0
    assert "imported: RxNorm 2026-11-02" in found.stdout
    assert "50 mg a unit" in found.stdout
    by_ndc = _cli(url, "terminology", "lookup", "0078-0127-05", "--system", "ndc")
    assert by_ndc.stdout.startswith("clozapine: recognised by the code 0078-0127-05")
    shipped = _cli(url, "terminology", "lookup", "197535")
    assert "shipped with this service" in shipped.stdout
    wrong = _cli(url, "terminology", "import", str(tmp_path / "cli.db"))
    assert (wrong.returncode, "zip file" in wrong.stderr) == (1, True)


def _draft(code: str, system: str) -> dict[str, Any]:
    order = data.clozapine(12.5)
    order["medicationCodeableConcept"] = {"coding": [{"system": system, "code": code}]}
    order["dosageInstruction"] = [
        {
            "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}],
        }
    ]
    return order


def test_a_draft_known_by_its_package_code_alone_is_checked(
    start_service: StartService, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/service.db"
    upgrade(url)
    body = call("order-sign", prefetch(), _draft("0078-0127-05", ndc.SYSTEM))
    before = start_service(database_url=url).post("/cds-services/clozapine-order-sign", json=body).json()
    assert codes(before) == []
    engine = engine_for(url)
    store(engine, read_release(release.folder(tmp_path / "RxNorm_full_11022026")), NOW)
    engine.dispose()
    after = start_service(database_url=url).post("/cds-services/clozapine-order-sign", json=body).json()
    assert ("anc-missing", "critical") in codes(after)
    # One tablet of 50 mg, the strength from the product's name.
    assert ("dose-start-too-high", "critical") in codes(after)


def test_eye_drops_known_by_code_alone_do_not_fire(start_service: StartService, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/service.db"
    upgrade(url)
    engine = engine_for(url)
    store(engine, read_release(release.folder(tmp_path / "RxNorm_full_11022026")), NOW)
    engine.dispose()
    drops = data.order("", "9000030", id="d9")
    drops["medicationCodeableConcept"] = {"coding": [{"system": SYSTEM, "code": "9000030"}]}
    taken = prefetch(medications=bundle(data.on_clozapine()), counts=bundle(data.anc(3.2, 3)))
    answer = (
        start_service(database_url=url)
        .post("/cds-services/clozapine-order-sign", json=call("order-sign", taken, drops))
        .json()
    )
    assert not any("ciprofloxacin" in c["summary"] for c in answer["cards"])


def test_a_site_maps_its_own_codes(start_service: StartService) -> None:
    service = start_service(codes={"urn:ward:drugs|CLZ-25": "clozapine"})
    order = data.clozapine(25)
    order["medicationCodeableConcept"] = {"coding": [{"system": "urn:ward:drugs", "code": "CLZ-25"}]}
    answer = service.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", prefetch(), order)
    ).json()
    assert ("anc-missing", "critical") in codes(answer)


def test_a_code_map_to_nothing_known_stops_the_start() -> None:
    from service.site.settings import Settings

    with pytest.raises(ValueError, match="did you mean 'clozapine'"):
        Settings(codes={"urn:ward:drugs|1": "clozapin"})
