"""``clozapine-cds registry state``: what clinicians state of a patient."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import typer

from service.alerts.facts.patient import ClinicianFlag
from service.alerts.facts.record_text import NAME, to_show
from service.cli.registry.site import fail, moment_of, noted, open_site, print_json, shell_name
from service.registry import requests, roster, statements

app = typer.Typer()


@app.command(
    "state",
    epilog="""Example: `clozapine-cds registry state clz-p1 hold --by 'Dr Hema' --details '{"lastDose": "2026-11-25T22:00", "reason": "infection"}'`""",
)
def state(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    kind: Annotated[str, typer.Argument(help=f"{', '.join(statements.KINDS)}.")],
    by: Annotated[str, typer.Option(help="Whose word it is.")],
    text: Annotated[str, typer.Option(help="In the clinician's words.")] = "",
    details: Annotated[str, typer.Option(help="JSON object: what this kind says (docs/registry.md).")] = "{}",
    continue_at: Annotated[float | None, typer.Option(help="deviation: down to this ANC, cells/µL.")] = None,
    expires: Annotated[str | None, typer.Option(help="Date (to its end) or moment.")] = None,
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Keep a statement and evaluate the patient at once; prints what stood before and what stands now."""
    here, engine = open_site(site)
    now = datetime.now(UTC)
    try:
        given: Any = orjson.loads(details)
        said, since = statements.details_of(kind, given, now, lambda t: requests.moment_of(t, here.zone))
    except orjson.JSONDecodeError:
        fail("--details: a JSON object is expected")
    except statements.NotStated as error:
        fail(str(error))
    if kind == "deviation" and (continue_at is None or expires is None or not text.strip()):
        fail("a deviation needs --continue-at, --expires and --text")
    end = moment_of("--expires", expires, here) if expires is not None else None
    if end is not None and expires is not None and requests.is_day(expires):
        end += timedelta(days=1)
    flag = ClinicianFlag(kind, to_show(by, NAME), now, to_show(text, NAME), continue_at, end, since)
    try:
        with engine.begin() as connection:
            noted(connection, here, "flag", patient)
            row = roster.find(connection, here.name, patient)
            done = statements.state(connection, here, row.id, flag, said, shell_name(), now)
    except roster.NotRegistered as error:
        fail(f"{patient}: {error}")
    print_json(done)


@app.command("withdraw", epilog="Example: `clozapine-cds registry withdraw clz-p1 4`")
def withdraw(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    number: Annotated[int, typer.Argument(help="Number of the statement (registry show --json).")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Withdraw a statement and evaluate the patient at once."""
    here, engine = open_site(site)
    now = datetime.now(UTC)
    try:
        with engine.begin() as connection:
            noted(connection, here, "withdraw-flag", patient)
            row = roster.find(connection, here.name, patient)
            done = statements.withdraw(connection, here, row.id, number, shell_name(), now)
            if done is None:
                fail(f"{number}: there is no such statement in force on this patient")
    except roster.NotRegistered as error:
        fail(f"{patient}: {error}")
    print_json(done)
