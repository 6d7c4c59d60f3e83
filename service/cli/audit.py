"""``clozapine-cds audit``: the trail of calls as FHIR AuditEvents, and its retention."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy import Engine

from service.registry import roster
from service.registry.requests import moment_of
from service.site.load import load_settings
from service.site.settings import Settings, SettingsError
from service.store.database import engine_for, not_ready
from service.store.private_files import open_private
from service.trail import audit

app = typer.Typer(help="The trail of calls.", no_args_is_help=True)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _open() -> tuple[Settings, Engine]:
    try:
        settings = load_settings()
    except SettingsError as error:
        _fail(str(error))
    engine = engine_for(settings.database_url)
    reason = not_ready(engine)
    if reason:
        _fail(f"database_url: {reason}")
    return settings, engine


def _day(option: str, text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    moment = moment_of(text, UTC)
    if moment is None:
        _fail(f"{option}: {text!r} is not an ISO 8601 date such as 2026-11-01")
    return moment


@app.command("export", epilog="Example: `clozapine-cds audit export audit.ndjson --since 2026-11-01`")
def export(
    file: Annotated[Path, typer.Argument(help="NDJSON file to write; - for standard output.")],
    since: Annotated[str | None, typer.Option(help="First moment; the beginning by default.")] = None,
    until: Annotated[str | None, typer.Option(help="End, exclusive; now by default.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    patient: Annotated[
        str | None, typer.Option(help="Only what was done in the registry to this patient of the site.")
    ] = None,
) -> None:
    """Write the calls of a period, and what was done in the registry, as FHIR AuditEvents, one a line."""
    settings, engine = _open()
    begin = _day("--since", since, datetime(1970, 1, 1, tzinfo=UTC))
    end = _day("--until", until, datetime.now(UTC) + timedelta(minutes=1))
    written = acts = 0
    try:
        with engine.connect() as connection:
            out = sys.stdout.buffer if str(file) == "-" else open_private(file)
            try:
                key = ""
                if patient is not None:
                    key = roster.key_of(connection, site or settings.site_name, patient)
                    if not key:
                        _fail("--patient: the database has no key of its own; run clozapine-cds db upgrade")
                else:
                    for line in audit.events(connection, begin, end, site):
                        out.write(line)
                        written += 1
                for line in audit.registry_events(connection, begin, end, site, key):
                    out.write(line)
                    acts += 1
            finally:
                if out is not sys.stdout.buffer:
                    out.close()
    except OSError as error:
        _fail(f"{file}: it cannot be written ({error.strerror})")
    typer.echo(f"{written} calls, {acts} acts in the registry", err=True)


@app.command("prune", epilog="Example: `clozapine-cds audit prune --days 365`")
def prune(
    days: Annotated[
        int | None, typer.Option(help="Days to keep; the setting retention_days by default.", min=1)
    ] = None,
) -> None:
    """Forget calls, cards and feedback that are older than the retention."""
    settings, engine = _open()
    keep = days if days is not None else settings.retention_days
    if not keep:
        _fail("--days: give the days to keep, or set retention_days")
    typer.echo(f"{audit.prune(engine, datetime.now(UTC), keep)} calls forgotten", err=True)
