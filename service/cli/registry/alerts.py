"""``clozapine-cds registry``: alerts, and what people do with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from service.cli.registry.site import fail, moment_of, noted, open_site, out, print_json, shell_name
from service.registry import outbox, people

app = typer.Typer()


@app.command("alerts", epilog="Example: `clozapine-cds registry alerts`")
def list_alerts(
    state: Annotated[str, typer.Option(help="open, in-hand, closed, resolved or all.")] = "open",
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List alerts, most severe first."""
    here, engine = open_site(site)
    if state not in ("open", "in-hand", "closed", "resolved", "all"):
        fail(f"--state: {state!r} is none of open, in-hand, closed, resolved, all")
    with engine.begin() as connection:
        rows = people.alerts(connection, sites=[here.name], now=datetime.now(UTC), state=state, limit=limit)
        noted(connection, here, "alerts", rows=len(rows))
    if as_json:
        print_json(rows)
        return
    table = Table("alert", "patient", "severity", "state", "in hand", "finding")
    for r in rows:
        hand = f"{r['hand_by']} until {r['hand_until']:%Y-%m-%d %H:%M} UTC" if r["state"] == "in-hand" else ""
        table.add_row(
            *(Text(str(v)) for v in (r["id"], r["patient_id"], r["severity"], r["state"], hand, r["summary"]))
        )
    out.print(table)
    out.print(f"{len(rows)} alerts." if len(rows) < limit else f"The first {limit} alerts.")


@app.command(
    "close", epilog="Example: `clozapine-cds registry close 17 --by 'Dr Hema' --note 'taken elsewhere'`"
)
def close(
    alert: Annotated[int, typer.Argument(help="Number of the alert (registry alerts).")],
    by: Annotated[str, typer.Option(help="Who closes it.")],
    note: Annotated[str, typer.Option(help="Why.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Close an alert whose finding lasts; new evidence brings it back. One at which clozapine must stop cannot be closed."""

    def act(connection: Connection, now: datetime) -> int | None:
        return people.close_alert(connection, alert, by, note, now, shell_name())

    _act(alert, site, "closed", {"--by": by, "--note": note}, act)
    out.print(f"Alert {alert} is closed.")


@app.command(
    "hand",
    epilog="Example: `clozapine-cds registry hand 17 --by 'Dr Hema' --until 2026-11-27T20:00 --reason 'count ordered'`",
)
def hand(
    alert: Annotated[int, typer.Argument(help="Number of the alert (registry alerts).")],
    by: Annotated[str, typer.Option(help="Who has it in hand.")],
    until: Annotated[str, typer.Option(help="Until when, at most 24 hours; the site's zone by default.")],
    reason: Annotated[str, typer.Option(help="What is being done.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Take an alert in hand until a moment; then, or with new evidence, it is open again."""
    moment = moment_of("--until", until, open_site(site)[0])

    def act(connection: Connection, now: datetime) -> int | None:
        return people.take_in_hand(connection, alert, by, moment, reason, now, shell_name())

    _act(alert, site, "in-hand", {"--by": by, "--reason": reason}, act)
    out.print(
        f"Alert {alert} is in hand until {moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({by}).", markup=False
    )


def _act(
    alert: int,
    site: str | None,
    what: str,
    said: dict[str, str],
    act: Callable[[Connection, datetime], int | None],
) -> None:
    """Do something to an alert of the site, and tell it."""
    for option, text in said.items():
        if not text.strip():
            fail(f"{option}: may not be empty")
    here, engine = open_site(site)
    now = datetime.now(UTC)
    try:
        with engine.begin() as connection:
            if people.site_of(connection, alert) != here.name:
                fail(f"{alert}: there is no such alert at this site")
            event = act(connection, now)
            noted(connection, here, "close" if what == "closed" else "hand", alert=alert)
            if event is None:
                fail(f"{alert}: the alert is not open any more, or says something else by now")
            outbox.tell_act(connection, here, alert, event, what, now)
    except people.NotClosable as error:
        fail(f"{alert}: {error}")
