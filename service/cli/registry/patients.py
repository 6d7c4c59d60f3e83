"""``clozapine-cds registry``: who is watched."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from service.cli.registry.site import fail, noted, open_site, out, print_json, shell_name
from service.registry import evaluation, people, roster, worklist

app = typer.Typer()


@app.command("list", epilog="Example: `clozapine-cds registry list --status overdue`")
def list_patients(
    status: Annotated[
        str, typer.Option(help="todo, overdue, due, on, stopped, unenrolled, dead or all.")
    ] = "on",
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List registered patients, what must be done first."""
    here, engine = open_site(site)
    if status not in worklist.STATUSES:
        fail(f"--status: {status!r} is none of {', '.join(worklist.STATUSES)}")
    today = datetime.now(here.zone).date()
    with engine.begin() as connection:
        rows = worklist.page(connection, sites=[here.name], status=status, today=today, limit=limit)
        noted(connection, here, "list", rows=len(rows))
    if as_json:
        print_json(rows)
        return
    # Numbers and dates are whole or the line is longer: nothing is cut.
    table = Table(
        *(Column(name, no_wrap=True) for name in ("to do", "patient", "state", "course since", "last ANC /µL", "on", "next due")),
        Column("alert", overflow="fold", ratio=1, min_width=30),
    )  # fmt: skip
    for r in rows:
        late = isinstance(r["next_due"], date) and r["next_due"] < today
        top = r["alert"]
        table.add_row(
            r["attention"],
            Text(r["patient_id"]),
            r["state"],
            str(r["course_start"] or "unknown"),
            "none" if r["last_anc"] is None else f"{r['last_anc']:.0f}",
            "" if r["last_anc_at"] is None else r["last_anc_at"].astimezone(here.zone).date().isoformat(),
            Text(str(r["next_due"] or ""), "red" if late else ""),
            Text("" if top is None else top["summary"] + (f" (+{top['more']})" if top["more"] else "")),
        )
    out.print(table, width=max(out.width, out.measure(table).minimum), crop=False)
    out.print(f"{len(rows)} patients." if len(rows) < limit else f"The first {limit} patients.")


@app.command("show", epilog="Example: `clozapine-cds registry show clz-p1`")
def show(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one patient: standing, flags, and the history of alerts."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "view", patient)
            row = roster.find(connection, here.name, patient)
            found = {key: value for key, value in row._mapping.items() if key != "facts"}
            found["flags"] = people.flags(connection, row.id)
            found["history"] = people.history(connection, row.id)
    except roster.NotRegistered as error:
        fail(f"{patient}: {error}")
    if as_json:
        print_json(found)
        return
    for key in (
        "site",
        "patient_id",
        "state",
        "course_start",
        "last_anc",
        "last_anc_at",
        "interval_days",
        "next_due",
        "policy",
    ):
        out.print(f"{key.replace('_', ' '):>15}  {found[key]}")
    for flag in found["flags"]:
        gone = f", withdrawn by {flag['withdrawn_by']}" if flag["withdrawn_at"] else ""
        out.print(
            f"           flag  {flag['kind']}: {flag['text']} ({flag['stated_by']}{gone})", markup=False
        )
    table = Table("when", "what", "severity", "finding", "by")
    for event in found["history"]:
        table.add_row(
            f"{event['at']:%Y-%m-%d %H:%M}",
            event["what"],
            event["severity"],
            event["summary"] or event["code"],
            event["by"],
        )
    out.print(table)


@app.command("merge", epilog="Example: `clozapine-cds registry merge OLD-ID NEW-ID`")
def merge(
    gone: Annotated[str, typer.Argument(help="Id that the EHR merged away.")],
    into: Annotated[str, typer.Argument(help="Id that remains.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Put two records of one patient together."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "merge", gone)
            now = datetime.now(UTC)
            roster.merge(connection, here.name, gone, into, here.policy, now, here)
            row = roster.find(connection, here.name, into)
            evaluation.reevaluate(connection, here, row.id, now, shell_name())
    except (roster.NotRegistered, ValueError) as error:
        fail(str(error))
    out.print(f"{gone} is merged into {into}.")


@app.command("unenrol", epilog="Example: `clozapine-cds registry unenrol clz-p1`")
def unenrol(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Take a patient off the roster: nothing is forgotten, nothing is watched."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "unenrol", patient)
            roster.unenrol(connection, here.name, patient, "command line", datetime.now(UTC), here)
    except roster.NotRegistered as error:
        fail(str(error))
    out.print(f"{patient} is off the roster.")


@app.command("enrol", epilog="Example: `clozapine-cds registry enrol clz-p1`")
def enrol(
    patient: Annotated[str, typer.Argument(help="FHIR id of a patient who was taken off.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Watch a patient again who was taken off the roster. New patients are enrolled by calls and by import."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "enrol", patient)
            now = datetime.now(UTC)
            state = roster.enrol_anew(connection, here.name, patient, here.policy, now)
            row = roster.find(connection, here.name, patient)
            evaluation.reevaluate(connection, here, row.id, now, shell_name())
    except roster.NotRegistered as error:
        fail(str(error))
    out.print(f"{patient} is watched again ({'on clozapine' if state == 'on' else 'clozapine has stopped'}).")


@app.command("delete", epilog="Example: `clozapine-cds registry delete clz-p1 --by 'Privacy office'`")
def delete(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    by: Annotated[str, typer.Option(help="Who asked for it; part of the proof.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Delete everything that is known of a patient, and print the proof."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "delete", patient)
            proof = roster.forget(connection, here.name, patient, by, datetime.now(UTC))
    except roster.NotRegistered as error:
        fail(str(error))
    print_json(
        {
            "site": proof.site,
            "patient_sha256": proof.patient_hash,
            "deleted_at": proof.deleted_at,
            "deleted_by": proof.deleted_by,
            "rows": proof.rows,
        }
    )
