"""``clozapine-cds registry``: the roster in and out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.cli.registry.site import fail, noted, open_site, out
from service.registry.exchange import ImportFailed, export_files, import_file

app = typer.Typer()


@app.command("import", epilog="Example: `clozapine-cds registry import patients.csv`")
def import_patients(
    file: Annotated[
        Path, typer.Argument(help="CSV (patient, course_start, anc, anc_at, …) or NDJSON of FHIR resources.")
    ],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Enrol patients from a file; what cannot be used is named and skipped."""
    here, engine = open_site(site)
    with engine.begin() as connection:
        noted(connection, here, "import")
    try:
        with Progress(
            TextColumn("import"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
        ) as progress:
            bar = progress.add_task("import", total=None)
            done = import_file(
                engine, here, file, datetime.now(UTC), lambda n: progress.update(bar, completed=n)
            )
    except ImportFailed as error:
        fail(f"{file}: {error}")
    for problem in done.problems:
        typer.echo(f"{file}: {problem}", err=True)
    out.print(f"{done.enrolled} patients enrolled or brought up to date, {len(done.problems)} lines skipped.")
    if done.problems:
        raise typer.Exit(1)


@app.command("export", epilog="Example: `clozapine-cds registry export out/`")
def export_patients(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Write the roster as a FHIR Group and the alerts and flags as NDJSON."""
    here, engine = open_site(site)
    with engine.begin() as connection:
        noted(connection, here, "export")
    try:
        written = export_files(engine, here.name, folder, datetime.now(UTC))
    except OSError as error:
        fail(f"{folder}: it cannot be written ({error.strerror})")
    for name, lines in written.items():
        out.print(f"{folder / name}: {lines}")
