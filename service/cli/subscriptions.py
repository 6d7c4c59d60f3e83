"""``clozapine-cds subscriptions``: EHRs that tell of what changed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Column, Table

from service.cli.registry.site import fail, open_site, open_with_directory, out
from service.site.settings import SettingsError
from service.store.times import aware
from service.subscriptions import kept
from service.subscriptions.keeper import keep_at
from service.web.schedulers import tokens_of

app = typer.Typer(help="FHIR Subscriptions: EHRs that tell of what changed.", no_args_is_help=True)
_LONGEST = 500


@app.command("open", epilog="Example: `clozapine-cds subscriptions open 'Observation?category=laboratory'`")
def open_one(
    criteria: Annotated[str, typer.Argument(help="What is told of: a search, or the address of a topic.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Make the address and the token of a Subscription that an administrator of the EHR registers; they are shown this once."""
    here, engine = open_site(site)
    if not criteria.strip() or len(criteria) > _LONGEST or not criteria.isprintable():
        fail(f"CRITERIA: a search or an address of at most {_LONGEST} characters is expected")
    with engine.begin() as connection:
        made = kept.make(connection, here.name, criteria.strip(), datetime.now(UTC))
    typer.echo(f"number:   {made.id}")
    typer.echo(f"criteria: {criteria.strip()}")
    typer.echo(f"endpoint: {here.links.fhir_url}/notify/{here.name}/{made.key}")
    typer.echo(f"header:   Authorization: Bearer {made.token}")


@app.command("close", epilog="Example: `clozapine-cds subscriptions close 3`")
def close_one(
    number: Annotated[int, typer.Argument(help="Number of the Subscription.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Take the address and the token of a Subscription back: what it tells gets 401."""
    here, engine = open_site(site)
    with engine.begin() as connection:
        if not kept.forget(connection, here.name, number):
            fail(f"NUMBER: {here.name} has no Subscription {number}; see clozapine-cds subscriptions status")
    out.print(f"{number} is closed.")


@app.command("apply", epilog="Example: `clozapine-cds subscriptions apply --site north`")
def apply(
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Look at the Subscriptions of a site at its EHR now: make, renew and put right what the settings want, take away the rest."""
    here, engine, directory = open_with_directory(site)
    try:
        source = tokens_of(here, lambda: datetime.now(UTC))
    except SettingsError as error:
        fail(str(error))
    if source is None or not here.fhir_server:
        fail(f"{here.name} has no backend or no fhir_servers: its EHR can be asked for nothing")
    done = asyncio.run(keep_at(engine, here, directory.new_client, source, datetime.now(UTC)))
    for criteria, found in done.found.items():
        out.print(f"{criteria}: {found}", markup=False)
    if not done.found and not done.troubles:
        out.print(f"{here.name} wants no Subscription; see the setting subscriptions.")
    for why in done.troubles:
        typer.echo(why, err=True)
    if done.troubles:
        raise typer.Exit(1)


@app.command("status", epilog="Example: `clozapine-cds subscriptions status`")
def status(
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """What each Subscription of a site is about, how it stands as the EHR last said, and when it last told something."""
    here, engine = open_site(site)
    with engine.connect() as connection:
        rows = kept.of_site(connection, here.name)
    if not rows:
        out.print(f"{here.name} has no Subscription.")
        return
    table = Table(
        "number",
        Column("criteria", overflow="fold"),
        "at the EHR",
        "status",
        "last told",
        "last event",
        "ends",
    )
    for row in rows:
        at = aware(row.told_at)
        last = str(row.last_number) if row.last_number is not None else ""
        table.add_row(
            str(row.id),
            row.criteria,
            row.status or "not said",
            f"{at:%Y-%m-%d %H:%M} UTC" if at else "never",
            last,
        )
    out.print(table)
