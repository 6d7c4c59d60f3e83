"""``clozapine-cds registry doctor``: what contradicts itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from service.cli.registry.site import noted, open_site, out, print_json
from service.registry.doctor import FAULTS, examine

app = typer.Typer()


@app.command("doctor", epilog="Example: `clozapine-cds registry doctor --days 3`")
def doctor(
    days: Annotated[
        int, typer.Option(help="Unread, unevaluated or untold for longer is a fault.", min=1, max=3650)
    ] = 3,
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what in the registry contradicts itself; status 1 when anything does. Nothing is changed."""
    here, engine = open_site(site)
    with engine.begin() as connection:
        noted(connection, here, "list")
        found = examine(connection, here, datetime.now(UTC), days)
    if as_json:
        print_json(
            [{"fault": f.name, "subject": f.subject, "seen": f.seen, "do": FAULTS[f.name]} for f in found]
        )
    else:
        for fault in found:
            seen = f" ({fault.seen})" if fault.seen else ""
            out.print(f"{fault.name}: {fault.subject}{seen}. {FAULTS[fault.name]}", markup=False)
        out.print(f"{len(found)} faults.")
    if found:
        raise typer.Exit(1)
