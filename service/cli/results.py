"""``clozapine-cds results``: results from a file, and what waits to be judged."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from service.cli.registry.site import fail, noted, open_site, out
from service.results import inbox
from service.results.delivery import Part, read_delivery
from service.results.files import Line, NoResults, bundle_of, form_of, pieces, read_lines
from service.results.judging import judge_waiting

app = typer.Typer(help="Results that arrive between visits.", no_args_is_help=True)


@app.command("import", epilog="Example: `clozapine-cds results import counts.csv`")
def import_results(
    file: Annotated[
        str,
        typer.Argument(
            help="NDJSON of FHIR resources, or CSV (patient, code, value, unit, at; code is LOINC); - for standard input."
        ),
    ],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="csv or ndjson; by default the name of the file tells, else ndjson."),
    ] = None,
) -> None:
    """Store the results of a file and judge them at once; a line that cannot be used is named and costs itself."""
    here, engine = open_site(site)
    if form not in (None, "csv", "ndjson"):
        fail("--format: csv or ndjson is expected")
    now = datetime.now(UTC)
    taken = skipped = 0
    try:
        with _opened(file) as lines:
            for piece in pieces(read_lines(lines, form or form_of(file))):
                delivery = read_delivery(bundle_of(piece), here.options.fhir_servers)
                with engine.begin() as connection:
                    inbox.take(connection, here.name, "import", delivery, now)
                    noted(connection, here, "results")
                skipped += _named(file, piece, delivery.parts)
                taken += sum(p.fate == "taken" for p in delivery.parts)
    except NoResults as error:
        fail(f"{file}: {error}")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: it cannot be read ({type(error).__name__})")
    judged = judge_waiting(engine, {here.name: here}.get, lambda: datetime.now(UTC))
    out.print(
        f"{taken} results taken, {skipped} lines skipped; {judged.deliveries} deliveries judged, {judged.failed} to be tried again."
    )
    if skipped or judged.failed:
        raise typer.Exit(1)


def _opened(file: str) -> TextIO:
    if file == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    return Path(file).open(encoding="utf-8-sig", newline="")


def _named(file: str, piece: list[Line], parts: list[Part]) -> int:
    """Say on stderr which lines were not used and why; returns how many."""
    fates = iter(parts)
    skipped = 0
    for line in piece:
        part = next(fates) if line.resource is not None else None
        why = line.why if part is None else f"{part.fate}. {part.why}" if part.fate != "taken" else ""
        if why:
            skipped += 1
            typer.echo(f"{file}: line {line.number}: {why}", err=True)
    return skipped


@app.command("status", epilog="Example: `clozapine-cds results status`")
def status() -> None:
    """How many deliveries wait to be judged, since when, and how many were put aside."""
    _, engine = open_site(None)
    with engine.connect() as connection:
        rows, oldest, aside = inbox.waiting(connection)
    since = f", the oldest since {oldest:%Y-%m-%d %H:%M} UTC" if oldest is not None else ""
    out.print(f"{rows} deliveries wait{since}; {aside} were put aside.")
