"""``clozapine-cds synthesize``: an invented clinic, the same for the same seed."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

EPILOG = "Example: `clozapine-cds synthesize --patients 30 --seed 1 --as-of 2026-11-21 --out clinic/`"
#: A date alone means the middle of a morning in the clinic.
_MORNING = time(10, tzinfo=UTC)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(3)


def _moment(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"--as-of: {text!r} is not an ISO 8601 date or time, such as 2026-11-21")
    if len(text) <= len("2026-11-21"):
        return datetime.combine(read.date(), _MORNING)
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def synthesize(
    as_of: Annotated[
        str,
        typer.Option(help="The day or moment at which the charts end (ISO 8601; a day alone: 10:00 UTC)."),
    ],
    patients: Annotated[int, typer.Option(help="How many patients.", min=1, max=10000)] = 30,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clinic, to the byte.", min=0)] = 1,
    out: Annotated[
        str, typer.Option(help="Directory to write; - prints one transaction Bundle per line.")
    ] = "-",
) -> None:
    """Invent a clinic of patients on clozapine: FHIR R4 transactions, hook calls, a Bulk Data export, and what to expect."""
    import orjson

    from service.synthetic.clinic import clinic, transaction, write

    moment = _moment(as_of)
    try:
        charts = list(clinic(patients, seed=seed, as_of=moment))
    except OverflowError:
        _fail(f"--as-of: {as_of} is too early a date")
    if out == "-":
        for chart in charts:
            typer.echo(orjson.dumps(transaction(chart)).decode())
        return
    try:
        number = write(Path(out), charts, seed=seed, as_of=moment)
    except OSError as error:
        _fail(f"{out}: {error.strerror}")
    typer.echo(f"{out}: {len(charts)} patients in {number} files; clinic.json says who is who.")
