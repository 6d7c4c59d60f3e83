"""``clozapine-cds registry``: who is watched, sweeps by hand, import and export."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from service.fhir.client import FetchFailed
from service.registry import outbox, people, roster
from service.registry.exchange import ImportFailed, export_files, import_file
from service.registry.refresh import Refreshed
from service.registry.scheduler import TokenSource, read_anew
from service.registry.sweep import remaining, start_run
from service.registry.sweep import sweep as run_sweep
from service.registry.watch import Watch
from service.site.settings import SettingsError, Watched, load_settings
from service.site.trust import Directory
from service.store.database import engine_for, not_ready
from service.terminology import terminology
from service.web.schedulers import tokens_of

app = typer.Typer(help="Patients on clozapine, watched between visits.", no_args_is_help=True)
out = Console()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _open(site: str | None = None) -> tuple[Watch, Engine]:
    """The site that is meant, and a database that is ready."""
    watched, engine, _ = _open_with_directory(site)
    return watched.watch, engine


def _open_with_directory(site: str | None) -> tuple[Watched, Engine, Directory]:
    try:
        settings = load_settings()
    except SettingsError as error:
        _fail(str(error))
    engine = engine_for(settings.database_url)
    reason = not_ready(engine)
    if reason:
        _fail(f"database_url: {reason}")
    try:
        terminology.load(engine)  # what is read anew or imported may use codes of the imported terminology
        directory = Directory(settings, engine)
        sites = directory.watched
    except SettingsError as error:
        _fail(str(error))
    if site is None and len(sites) == 1:
        return next(iter(sites.values())), engine, directory
    if site not in sites:
        known = ", ".join(sorted(sites)) or "none; see clozapine-cds ehr add"
        _fail(f"--site: {f'there is no site {site!r}' if site else 'name one site'}; known: {known}")
    return sites[site], engine, directory


def _moment(option: str, value: str | None, watch: Watch) -> datetime:
    if value is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        _fail(f"{option}: {value!r} is not an ISO 8601 date and time, such as 2026-11-20T10:00:00Z")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=watch.zone)


def _json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z, default=str).decode())


@app.command("list", epilog="Example: `clozapine-cds registry list --status overdue`")
def list_patients(
    status: Annotated[str, typer.Option(help="overdue, due, on, stopped, unenrolled or all.")] = "on",
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List registered patients, what is due first."""
    watch, engine = _open(site)
    if status not in ("overdue", "due", "on", "stopped", "unenrolled", "all"):
        _fail(f"--status: {status!r} is none of overdue, due, on, stopped, unenrolled, all")
    today = datetime.now(watch.zone).date()
    with engine.connect() as connection:
        rows = roster.page(connection, sites=[watch.site], status=status, today=today, limit=limit)  # type: ignore[arg-type]
    if as_json:
        _json(rows)
        return
    table = Table("site", "patient", "state", "course since", "last ANC /µL", "on", "next due")
    for r in rows:
        late = isinstance(r["next_due"], date) and r["next_due"] < today and r["state"] == "on"
        table.add_row(
            r["site"],
            r["patient_id"],
            r["state"],
            str(r["course_start"] or "unknown"),
            "none" if r["last_anc"] is None else f"{r['last_anc']:.0f}",
            "" if r["last_anc_at"] is None else r["last_anc_at"].date().isoformat(),
            f"[red]{r['next_due']}[/]" if late else str(r["next_due"] or ""),
        )
    out.print(table)
    out.print(f"{len(rows)} patients." if len(rows) < limit else f"The first {limit} patients.")


@app.command("show", epilog="Example: `clozapine-cds registry show clz-p1`")
def show(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one patient: standing, flags, and the history of alerts."""
    watch, engine = _open(site)
    try:
        with engine.connect() as connection:
            row = roster.find(connection, watch.site, patient)
            found = {key: value for key, value in row._mapping.items() if key != "facts"}
            found["flags"] = people.flags(connection, row.id)
            found["history"] = people.history(connection, row.id)
    except roster.NotRegistered as error:
        _fail(f"{patient}: {error}")
    if as_json:
        _json(found)
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


@app.command("alerts", epilog="Example: `clozapine-cds registry alerts`")
def list_alerts(
    state: Annotated[str, typer.Option(help="open, in-hand, closed, resolved or all.")] = "open",
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List alerts, most severe first."""
    watch, engine = _open(site)
    if state not in ("open", "in-hand", "closed", "resolved", "all"):
        _fail(f"--state: {state!r} is none of open, in-hand, closed, resolved, all")
    with engine.connect() as connection:
        rows = people.alerts(connection, sites=[watch.site], now=datetime.now(UTC), state=state, limit=limit)
    if as_json:
        _json(rows)
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
        return people.close_alert(connection, alert, by, note, now)

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
    moment = _moment("--until", until, _open(site)[0])

    def act(connection: Connection, now: datetime) -> int | None:
        return people.take_in_hand(connection, alert, by, moment, reason, now)

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
            _fail(f"{option}: may not be empty")
    watch, engine = _open(site)
    now = datetime.now(UTC)
    try:
        with engine.begin() as connection:
            if people.site_of(connection, alert) != watch.site:
                _fail(f"{alert}: there is no such alert at this site")
            event = act(connection, now)
            if event is None:
                _fail(f"{alert}: the alert is not open any more, or says something else by now")
            outbox.tell_act(connection, watch, alert, event, what, now)
    except people.NotClosable as error:
        _fail(f"{alert}: {error}")


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
    watched, engine, directory = _open_with_directory(site)
    watch = watched.watch
    try:
        tokens = tokens_of(watched, lambda: datetime.now(UTC))
    except SettingsError as error:
        _fail(str(error))
    if reading:
        if tokens is None:
            _fail("--refresh: the site has no backend credentials")
        _refresh(engine, watch, directory, tokens, quiet=as_json)
    moment = _moment("--as-of", as_of, watch)
    run = start_run(
        engine, watch.site, _moment("--planned-for", planned_for, watch) if planned_for else moment, moment
    )
    total = remaining(engine, watch.site, run)
    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            bar = progress.add_task("sweep", total=total)
            summary = run_sweep(engine, watch, run, batch=batch, on_batch=lambda n: progress.advance(bar, n))
    except SQLAlchemyError as error:
        _fail(
            f"the sweep stopped, the database failed ({type(error).__name__}); run it again with --planned-for to go on"
        )
    delivered = _deliver(engine, watched, directory, tokens) if telling else {}
    if as_json:
        _json(
            {
                "run": run,
                "site": watch.site,
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


def _refresh(engine: Engine, watch: Watch, directory: Directory, tokens: TokenSource, *, quiet: bool) -> None:
    """Read the patients anew; what the EHR does not give stays as it is known."""
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn())

    async def run(advance: Callable[[], None]) -> Refreshed:
        async with directory.new_client() as client:
            return await read_anew(engine, watch, client, datetime.now(UTC), tokens(client), advance)

    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("reading", total=None)
        try:
            done = asyncio.run(run(lambda: progress.advance(bar)))
        except FetchFailed as why:
            _fail(f"--refresh: {why}")
    partly = f", {done.partly} in part" if done.partly else ""
    typer.echo(f"{done.patients} patients read anew{partly}, {done.failed} failed", err=True)


def _deliver(
    engine: Engine, watched: Watched, directory: Directory, tokens: TokenSource | None
) -> dict[str, int]:
    async def run() -> dict[str, int]:
        async with directory.new_client() as client:
            return await outbox.deliver(
                engine,
                watched.watch,
                client,
                datetime.now(UTC),
                token=tokens(client) if tokens is not None else None,
                webhook_secret=watched.webhook_secret,
                limit=100_000,
            )

    try:
        return asyncio.run(run())
    except FetchFailed as why:
        _fail(f"--deliver: {why}")


@app.command("import", epilog="Example: `clozapine-cds registry import patients.csv`")
def import_patients(
    file: Annotated[
        Path, typer.Argument(help="CSV (patient, course_start, anc, anc_at, …) or NDJSON of FHIR resources.")
    ],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Enrol patients from a file; what cannot be used is named and skipped."""
    watch, engine = _open(site)
    try:
        with Progress(
            TextColumn("import"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
        ) as progress:
            bar = progress.add_task("import", total=None)
            done = import_file(
                engine, watch, file, datetime.now(UTC), lambda n: progress.update(bar, completed=n)
            )
    except ImportFailed as error:
        _fail(f"{file}: {error}")
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
    watch, engine = _open(site)
    try:
        written = export_files(engine, watch.site, folder, datetime.now(UTC))
    except OSError as error:
        _fail(f"{folder}: it cannot be written ({error.strerror})")
    for name, lines in written.items():
        out.print(f"{folder / name}: {lines}")


@app.command("merge", epilog="Example: `clozapine-cds registry merge OLD-ID NEW-ID`")
def merge(
    gone: Annotated[str, typer.Argument(help="Id that the EHR merged away.")],
    into: Annotated[str, typer.Argument(help="Id that remains.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Put two records of one patient together."""
    watch, engine = _open(site)
    try:
        with engine.begin() as connection:
            roster.merge(connection, watch.site, gone, into, watch.policy, datetime.now(UTC), watch)
    except (roster.NotRegistered, ValueError) as error:
        _fail(str(error))
    out.print(f"{gone} is merged into {into}.")


@app.command("unenrol", epilog="Example: `clozapine-cds registry unenrol clz-p1`")
def unenrol(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Take a patient off the roster: nothing is forgotten, nothing is watched."""
    watch, engine = _open(site)
    try:
        with engine.begin() as connection:
            roster.unenrol(connection, watch.site, patient, "command line", datetime.now(UTC), watch)
    except roster.NotRegistered as error:
        _fail(str(error))
    out.print(f"{patient} is off the roster.")


@app.command("enrol", epilog="Example: `clozapine-cds registry enrol clz-p1`")
def enrol(
    patient: Annotated[str, typer.Argument(help="FHIR id of a patient who was taken off.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Watch a patient again who was taken off the roster. New patients are enrolled by calls and by import."""
    watch, engine = _open(site)
    try:
        with engine.begin() as connection:
            state = roster.enrol_anew(connection, watch.site, patient, watch.policy, datetime.now(UTC))
    except roster.NotRegistered as error:
        _fail(str(error))
    out.print(f"{patient} is watched again ({'on clozapine' if state == 'on' else 'clozapine has stopped'}).")


@app.command("delete", epilog="Example: `clozapine-cds registry delete clz-p1 --by 'Privacy office'`")
def delete(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    by: Annotated[str, typer.Option(help="Who asked for it; part of the proof.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
) -> None:
    """Delete everything that is known of a patient, and print the proof."""
    watch, engine = _open(site)
    try:
        with engine.begin() as connection:
            proof = roster.forget(connection, watch.site, patient, by, datetime.now(UTC))
    except roster.NotRegistered as error:
        _fail(str(error))
    _json(
        {
            "site": proof.site,
            "patient_sha256": proof.patient_hash,
            "deleted_at": proof.deleted_at,
            "deleted_by": proof.deleted_by,
            "rows": proof.rows,
        }
    )
