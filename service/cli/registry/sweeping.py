"""``clozapine-cds registry``: a sweep by hand, with reading before it and telling after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.cli.registry.site import fail, moment_of, noted, open_with_directory, out, print_json
from service.fhir.client import FetchFailed
from service.options.site import Site
from service.registry import delivery
from service.registry.refresh import Refreshed
from service.registry.scheduler import TokenSource, read_anew
from service.registry.sweep import remaining, start_run
from service.registry.sweep import sweep as run_sweep
from service.site.settings import SettingsError
from service.site.trust import Directory
from service.web.schedulers import tokens_of

app = typer.Typer()


@app.command("sweep", epilog="Example: `clozapine-cds registry sweep --json`")
def sweep(
    as_of: Annotated[str | None, typer.Option(help="The moment of the question; now by default.")] = None,
    planned_for: Annotated[
        str | None, typer.Option(help="Join the run planned for this moment; by default a new one.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    batch: Annotated[int, typer.Option(help="Patients per transaction.", min=1, max=5000)] = 200,
    reading: Annotated[
        bool,
        typer.Option("--refresh", help="First read patients anew from the EHR (needs backend credentials)."),
    ] = False,
    telling: Annotated[
        bool, typer.Option("--deliver", help="Afterwards send what waits for the EHR and the webhook.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Evaluate every registered patient and bring the alerts up to date. Several processes may share one run."""
    here, engine, directory = open_with_directory(site)
    try:
        tokens = tokens_of(here, lambda: datetime.now(UTC))
    except SettingsError as error:
        fail(str(error))
    if reading:
        if tokens is None:
            fail("--refresh: the site has no backend credentials")
        _refresh(engine, here, directory, tokens, quiet=as_json)
    moment = moment_of("--as-of", as_of, here)
    run = start_run(
        engine, here.name, moment_of("--planned-for", planned_for, here) if planned_for else moment, moment
    )
    total = remaining(engine, here.name, run)
    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            bar = progress.add_task("sweep", total=total)
            summary = run_sweep(engine, here, run, batch=batch, on_batch=lambda n: progress.advance(bar, n))
        with engine.begin() as connection:
            noted(connection, here, "sweep", rows=summary.patients)
    except SQLAlchemyError as error:
        fail(
            f"the sweep stopped, the database failed ({type(error).__name__}); run it again with --planned-for to go on"
        )
    delivered = _deliver(engine, here, directory, tokens) if telling else {}
    if as_json:
        print_json(
            {
                "run": run,
                "site": here.name,
                "patients": summary.patients,
                "unreadable": summary.unreadable,
                "rule_faults": summary.faults,
                "alerts": summary.changes,
                "delivered": delivered,
            }
        )
        return
    changed = ", ".join(f"{n} {what}" for what, n in sorted(summary.changes.items())) or "no change"
    out.print(f"{summary.patients} patients evaluated; alerts: {changed}.")
    if delivered:
        out.print("Outbox: " + ", ".join(f"{n} {what}" for what, n in delivered.items()) + ".")
    if summary.unreadable:
        out.print(
            f"{summary.unreadable} patients could not be evaluated (facts of another version, or a fault in the log): "
            "their alerts stay as they are."
        )


def _refresh(engine: Engine, here: Site, directory: Directory, tokens: TokenSource, *, quiet: bool) -> None:
    """Read the patients anew; what the EHR does not give stays as it is known."""
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn())

    async def run(advance: Callable[[], None]) -> Refreshed:
        async with directory.new_client(here.name) as client:
            return await read_anew(engine, here, client, datetime.now(UTC), tokens(client), advance)

    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("reading", total=None)
        try:
            done = asyncio.run(run(lambda: progress.advance(bar)))
        except FetchFailed as why:
            fail(f"--refresh: {why}")
    partly = f", {done.partly} in part" if done.partly else ""
    typer.echo(f"{done.patients} patients read anew{partly}, {done.failed} failed", err=True)


def _deliver(engine: Engine, here: Site, directory: Directory, tokens: TokenSource | None) -> dict[str, int]:
    async def run() -> dict[str, int]:
        async with directory.new_client(here.name) as client:
            return await delivery.deliver(
                engine,
                here,
                client,
                datetime.now(UTC),
                token=tokens(client) if tokens is not None else None,
                limit=100_000,
            )

    try:
        return asyncio.run(run())
    except FetchFailed as why:
        fail(f"--deliver: {why}")
