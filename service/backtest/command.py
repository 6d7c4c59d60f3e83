"""``clozapine-cds backtest DIR``: options in, tables and files out."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from service.backtest.replay import Protocol
    from service.backtest.report import Report
    from service.backtest.run import Options, Outcome, Step
    from service.site.settings import Settings

EPILOG = (
    "Example: `clozapine-cds synthesize --patients 5 --as-of 2026-11-21 --out clinic/`, then "
    "`clozapine-cds backtest clinic/export --from 2026-01-01 --html report.html --csv report.csv`"
)
_STEPS = {
    "products": "Reading products",
    "patients": "Finding patients on clozapine",
    "sort": "Sorting their records",
    "evaluate": "Running the rules",
}
_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


class At(StrEnum):
    """When the rules are asked."""

    order = "order"
    day = "day"


class Known(StrEnum):
    """From when a result is visible."""

    issued = "issued"
    collected = "collected"


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(3)


def _date(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"{option}: {text!r} is not a date such as 2026-01-31")


def backtest(
    directory: Annotated[Path, typer.Argument(help="FHIR Bulk Data export: *.ndjson and *.ndjson.gz.")],
    at: Annotated[
        At, typer.Option(help="Ask at every order, or at noon of every day of treatment.")
    ] = At.order,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Policy id or file; repeat it to compare. The configured one by default."),
    ] = None,
    in_force: Annotated[
        bool, typer.Option("--in-force", help="Use the policy, predecessor or successor valid on the day.")
    ] = False,
    first: Annotated[str | None, typer.Option("--from", help="First day (YYYY-MM-DD).")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day (YYYY-MM-DD).")] = None,
    site_timezone: Annotated[
        str | None, typer.Option(help="IANA time zone that decides dates; the configured one by default.")
    ] = None,
    results_known: Annotated[
        Known, typer.Option(help="Results are visible once issued, or when their sample was collected.")
    ] = Known.issued,
    none_of: Annotated[
        list[str] | None,
        typer.Option(
            help="A resource type the hospital keeps none of: its absence is not missing data. May repeat."
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the rates by code here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page for the committee here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1, max=256)] = os.cpu_count() or 1,
    work_directory: Annotated[
        Path | None,
        typer.Option(
            help="Where a sorted copy of the patients' data is kept while this runs; it is deleted at the end."
        ),
    ] = None,
) -> None:
    """Run the rules over a FHIR Bulk Data export and report alerts per 100 orders. Exit status: 0 done, 3 not possible."""
    from msgspec.structs import replace

    from service.backtest.export import ExportError
    from service.backtest.report import as_csv, as_html, report_of
    from service.backtest.report import as_json as json_of
    from service.backtest.run import OPTIONAL_TYPES, Options

    settings = _settings()
    unknown = [name for name in none_of or () if name not in OPTIONAL_TYPES]
    if unknown:
        _fail(f"--none-of: {unknown[0]!r} must be one of {', '.join(OPTIONAL_TYPES)}")
    for path in (csv, html):
        if path is not None and not path.parent.is_dir():
            _fail(f"{path}: there is no directory {path.parent}")
    if work_directory is not None and not work_directory.is_dir():
        _fail(f"--work-directory: there is no directory {work_directory}")
    site = settings.site()
    if site_timezone:
        site = replace(site, zone=_zone(site_timezone))
    options = Options(
        directory=directory,
        protocols=_protocols(settings, policy, in_force),
        site=site,
        at=at.value,
        first=_date(first, "--from"),
        last=_date(last, "--to"),
        jobs=jobs,
        results=results_known.value,
        none_of=frozenset(none_of or ()),
        work_directory=work_directory,
    )
    try:
        report = report_of(_run(options))
        if csv is not None:
            csv.write_text(as_csv(report), encoding="utf-8")
        if html is not None:
            html.write_text(as_html(report), encoding="utf-8")
    except ExportError as error:
        _fail(str(error))
    except BrokenProcessPool:
        _fail("a process of the backtest was killed, probably for lack of memory: repeat with fewer --jobs")
    except OSError as error:
        _fail(f"{error.filename or directory}: {error.strerror}")
    if as_json:
        typer.echo(json_of(report).decode())
    else:
        _print(report, Console())


def _settings() -> Settings:
    from service.site.load import load_settings
    from service.site.settings import SettingsError

    try:
        settings = load_settings()
        settings.site()
    except SettingsError as error:
        _fail(str(error))
    return settings


def _protocols(settings: Settings, names: list[str] | None, in_force: bool) -> tuple[Protocol, ...]:
    from service.alerts.policy.policy import PolicyError
    from service.backtest.protocols import policy_of, protocols

    try:
        chosen = [policy_of(name) for name in names] if names else [settings.load_policy()]
    except PolicyError as error:
        _fail(f"--policy: {error}")
    return protocols(chosen, in_force=in_force)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        _fail(f"--site-timezone: {name!r} is not an IANA time zone such as America/New_York")


def _run(options: Options) -> Outcome:
    from service.backtest.run import backtest as run
    from service.ops import garbage

    garbage.tune()
    # Progress goes to stderr: stdout may be a file of JSON.
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(step: Step, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(_STEPS[step], total=max(total, 1))
                done = 1 if total == 0 else done
            bars.advance(tasks[step], done)

        return run(options, progress)


def _print(report: Report, console: Console) -> None:
    units = "orders" if report.at == "order" else "days"
    console.print(
        f"{report.patients} patients with a record of clozapine, {report.evaluated_patients} with {units} in the period; "
        f"{report.lines} lines read, {report.unreadable} unreadable.",
        highlight=False,
    )
    summary = Table()
    for heading in (
        "policy",
        units,
        "alerts",
        f"per 100 {units}",
        "with critical",
        "with warning or critical",
        "silent",
    ):
        summary.add_column(heading, overflow="fold")
    for p in report.policies:
        summary.add_row(
            p.label, str(p.orders), str(p.alerts), f"{p.per_100}", f"{p.with_critical_percent} %",
            f"{p.with_interruption_percent} %", f"{p.silent_percent} %",
        )  # fmt: skip
    console.print(summary)
    table = Table(title=f"Alerts per 100 {units} (number of alerts)")
    table.add_column("code", overflow="fold")
    table.add_column("severity")
    for p in report.policies:
        table.add_column(p.label, justify="right", overflow="fold")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for p in report.policies:
        for row in p.codes:
            rows.setdefault((row.code, row.severity), {})[p.label] = f"{row.per_100} ({row.alerts})"
    order = sorted(rows, key=lambda key: (list(_COLOURS).index(key[1]), key[0]))
    for code, severity in order:
        cells = [rows[code, severity].get(p.label, "–") for p in report.policies]
        table.add_row(code, f"[{_COLOURS[severity]}]{severity}[/]", *cells)
    console.print(table)
    for note in report.notes:
        console.print(f"Note: {note}", markup=False, highlight=False)
    for line in report.unreadable_first:
        console.print(f"  {line}", markup=False, highlight=False)
