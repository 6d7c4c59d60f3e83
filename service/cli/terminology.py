"""``clozapine-cds terminology``: importing RxNorm, and explaining how a medication is recognised."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import SQLAlchemyError

from service.alerts.knowledge.classes import classes_of
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.products import imported_product, imported_release, product_by_code
from service.cli.console import plain
from service.fhir.strength import strength_in_name
from service.site.load import load_settings
from service.site.settings import Settings, SettingsError
from service.store.database import engine_for, not_ready
from service.terminology.rxnorm import SYSTEM, TerminologyError, read_release, size_of
from service.terminology.terminology import load, store

app = typer.Typer(help="How medications are recognised.", no_args_is_help=True)
out = plain()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        _fail(str(error))


@app.command("import", epilog="Example: `clozapine-cds terminology import RxNorm_full_11022026.zip`")
def import_release(
    path: Annotated[
        Path, typer.Argument(help="RxNorm release: the zip file, or a folder with its RRF files.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Load RxNorm's products, brands, packs and NDCs of every named drug, in place of an earlier import."""
    settings = _settings()
    engine = engine_for(settings.database_url)
    reason = not_ready(engine)
    if reason:
        _fail(f"database_url: {reason}")
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            bar = progress.add_task("reading", total=size_of(path))
            release = read_release(path, lambda n: progress.advance(bar, n))
        store(engine, release, datetime.now(UTC))
    except (TerminologyError, UnicodeDecodeError) as error:
        _fail(str(error))
    except SQLAlchemyError as error:
        _fail(
            f"the import was not kept, the database failed ({type(error).__name__}); what was imported before is still there"
        )
    if as_json:
        typer.echo(
            orjson.dumps(
                {"release": release.name, "products": release.products, "codes": len(release.entries)}
            ).decode()
        )
        return
    out.print(
        f"{release.name}: {release.products} products, {len(release.entries)} codes. Running services know them after a restart."
    )


@app.command(
    "lookup",
    epilog="Example: `clozapine-cds terminology lookup 197535`, `… lookup 0378-0825-01 --system ndc` or `… lookup 'Clozaril 25 mg'`",
)
def lookup(
    term: Annotated[str, typer.Argument(help="A code or a name.")],
    system: Annotated[
        str, typer.Option(help="Code system of the code: its URI, or ndc, atc, snomed.")
    ] = SYSTEM,
) -> None:
    """Explain how a medication is recognised."""
    short = {
        "ndc": "http://hl7.org/fhir/sid/ndc",
        "atc": "http://www.whocc.no/atc",
        "snomed": "http://snomed.info/sct",
        "rxnorm": SYSTEM,
    }
    system = short.get(system.lower(), system)
    settings = _settings()
    engine = engine_for(settings.database_url)
    if not not_ready(engine):
        load(engine)
    local = settings.site().maps.codes.get((system, term))
    product = product_by_code(system, term)
    if local is not None:
        drugs: tuple[str, ...] = (local,)
        how = f"by the site's own code map ({term} of {system})"
    elif product is not None:
        drugs = product.drugs
        imported = imported_product(system, term) is product
        source = f"imported: {imported_release()}" if imported else "shipped with this service"
        how = f"by the code {term} of {system} ({source}): {product.label}"
    else:
        drugs = drugs_by_name(term)
        how = "by name"
    if not drugs:
        hint = (
            "" if imported_release() else " No terminology is imported: see clozapine-cds terminology import."
        )
        _fail(f"{term!r} is not recognised, neither as a code of {system} nor by name.{hint}")
    named = strength_in_name(product.label if product is not None and product.named else term)
    mg = product.mg if product is not None and product.mg is not None else named.mg_per_unit
    strength = (
        f", {mg:g} mg a unit" if mg is not None else f", {named.mg_per_ml:g} mg/mL" if named.mg_per_ml else ""
    )
    for drug in drugs:
        groups = ", ".join(c.id for c in classes_of(drug)) or "no class"
        out.print(f"{drug}: recognised {how}{strength}; {groups}", markup=False)
