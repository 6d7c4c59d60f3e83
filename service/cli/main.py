"""The command line (contract "Commands"): every command has an example; errors are one plain sentence."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import orjson
import typer
from rich.table import Column, Table
from rich.text import Text
from typer.exceptions import TyperException

from service.alerts.policy.check import problems, unconfirmed
from service.alerts.policy.policy import Policy, PolicyError, load_policy, policy_by_id, policy_ids
from service.alerts.policy.reference import confirmed_words, reference_only, reference_words
from service.backtest import command as backtest_command
from service.cli.audit import app as audit_app
from service.cli.console import plain
from service.cli.ehr import ehr_app
from service.cli.registry.command import app as registry_app
from service.cli.results import app as results_app
from service.cli.subscriptions import app as subscriptions_app
from service.cli.terminology import app as terminology_app
from service.site.load import load_settings
from service.site.settings import Settings, SettingsError
from service.synthetic import command as synthetic_command

app = typer.Typer(
    name="clozapine-cds",
    help="Clozapine safety service: CDS Hooks cards for blood counts, missed doses, interactions and overdue monitoring.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
policy_app = typer.Typer(help="Monitoring policies.", no_args_is_help=True)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(db_app, name="db")
app.add_typer(terminology_app, name="terminology")
app.add_typer(registry_app, name="registry")
app.add_typer(results_app, name="results")
app.add_typer(subscriptions_app, name="subscriptions")
app.add_typer(audit_app, name="audit")
app.command(epilog=backtest_command.EPILOG)(backtest_command.backtest)
app.add_typer(ehr_app, name="ehr")
app.command(epilog=synthetic_command.EPILOG)(synthetic_command.synthesize)
out = plain()

#: Exit codes of ``check`` (contract).
_EXIT = {"info": 1, "warning": 1, "critical": 2}


def fail(message: str, code: int = 1) -> NoReturn:
    """One sentence on stderr, then out."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _settings(**overrides: Any) -> Settings:
    try:
        return load_settings(**{key: value for key, value in overrides.items() if value is not None})
    except SettingsError as error:
        fail(f"clozapine-cds cannot start: {error}", 3)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clozapine-cds {version('clozapine-cds')}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Clozapine safety service: CDS Hooks cards for blood counts, missed doses, interactions and overdue monitoring."""


@app.command(epilog="Example: `clozapine-cds serve --port 8000`")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes behind one socket.", min=1, max=64)] = 1,
) -> None:
    """Serve CDS Hooks over HTTP."""
    from service.site.trust import require_ehrs
    from service.store.database import is_embedded
    from service.web.serving import listen, run

    try:
        listening = listen(host, port)
        port = listening.getsockname()[1]
    except OSError as error:
        fail(
            f"clozapine-cds cannot start: port {port} on {host}: {error.strerror}; choose another with --port",
            3,
        )
    # Links on cards and the printed addresses must name the port that is really used.
    overrides = (
        {}
        if "CLOZAPINE_CDS_BASE_URL" in os.environ or "CLOZAPINE_CDS_CONFIG" in os.environ
        else {"base_url": f"http://{host}:{port}"}
    )
    settings = _settings(**overrides)
    try:
        settings.check_listening(host)
        settings.site()
        if is_embedded(settings.database_url):
            _, wrong = _upgraded(settings)
            if wrong:  # hooks are answered without it
                typer.echo(wrong, err=True)
        require_ehrs(settings)
    except SettingsError as error:
        fail(f"clozapine-cds cannot start: {error}", 3)
    raise typer.Exit(run(settings, listening, workers))


@app.command(
    epilog="Example: `clozapine-cds check examples/01-start-without-anc/request.json --as-of 2026-11-20T10:00:00Z`"
)
def check(
    files: Annotated[list[Path], typer.Argument(help="CDS Hooks requests, or FHIR Bundles with --hook.")],
    hook: Annotated[str | None, typer.Option(help="The hook to play with a Bundle.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="The moment of the question (ISO 8601); now by default.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Policy id or file; the configured one by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
    explain: Annotated[
        bool, typer.Option(help="Print what became of every resource: read, irrelevant, or not understood.")
    ] = False,
) -> None:
    """Print the cards for requests or Bundles. Exit status: 0 none, 1 info or warning, 2 critical, 3 could not be evaluated."""
    from service.cli.printing import print_cards, print_ledger
    from service.judge import JudgeError, judge

    settings = _settings(policy=policy)
    try:
        site = settings.site()
        moment = datetime.fromisoformat(as_of) if as_of else datetime.now(UTC)
    except SettingsError as error:
        fail(str(error), 3)
    except ValueError:
        fail(f"--as-of: {as_of!r} is not an ISO 8601 date and time, such as 2026-11-20T10:00:00Z", 3)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=site.zone)
    worst = 0
    answers = []
    for path in files:
        try:
            judged = judge(path.read_bytes(), as_of=moment, hook=hook, site=site)
        except OSError as error:
            fail(f"{path}: {error.strerror}", 3)
        except JudgeError as error:
            fail(f"{path}: {error}", 3)
        cards = [msgspec.to_builtins(card) for card in judged.cards]
        worst = max([worst, *(_EXIT[card["indicator"]] for card in cards)])
        if as_json:
            answers.append(
                {
                    "file": str(path),
                    "hook": judged.hook,
                    "cards": orjson.loads(msgspec.json.encode(judged.cards)),
                    **({"ledger": msgspec.to_builtins(judged.ledger)} if explain else {}),
                }
            )
            continue
        if len(files) > 1:
            out.rule(str(path))
        print_cards(out, cards)
        if not cards:
            out.print("No cards.")
        if explain:
            print_ledger(out, judged.ledger)
    if as_json:
        typer.echo(orjson.dumps(answers, option=orjson.OPT_INDENT_2).decode())
    raise typer.Exit(worst)


def _find(policy: str) -> Policy:
    try:
        return load_policy(Path(policy)) if policy.endswith(".toml") else policy_by_id(policy)
    except PolicyError as error:
        fail(str(error))


@policy_app.command("list", epilog="Example: `clozapine-cds policy list`")
def policy_list() -> None:
    """List the shipped policies."""
    table = Table(
        Column("id", no_wrap=True),
        "title",
        "valid from",
        Column("to", no_wrap=True),
        "open",
        "reference only for",
    )
    for policy in map(policy_by_id, policy_ids()):
        table.add_row(
            policy.id,
            policy.title,
            str(policy.valid_from),
            str(policy.valid_to or ""),
            str(len(unconfirmed(policy))),
            ", ".join(reference_only(policy)) or "–",
        )
    out.print(table)


@policy_app.command("show", epilog="Example: `clozapine-cds policy show us-label-2025`")
def policy_show(
    policy: Annotated[str, typer.Argument(help="Policy id or .toml file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the policy as JSON.")] = False,
) -> None:
    """Show a policy: bands, schedule, missed doses, and what is not confirmed."""
    found = _find(policy)
    if as_json:
        typer.echo(
            orjson.dumps(orjson.loads(msgspec.json.encode(found)), option=orjson.OPT_INDENT_2).decode()
        )
        return
    until = f" to {found.valid_to}" if found.valid_to else ""
    out.print(Text.assemble((found.title, "bold"), f" ({found.id}), valid from {found.valid_from}{until}"))
    out.print(found.summary)
    if words := reference_words(found):
        out.print(Text(words, "bold"))
    for confirmation in found.confirmations:
        out.print(confirmed_words(confirmation), markup=False)
    bands = Table(
        "population",
        "count",
        "band",
        "cells/µL",
        "clozapine",
        "sampling",
        "source",
        title="Blood count bands",
    )
    for band in found.bands:
        bands.add_row(
            band.population, band.analyte.upper(), band.title, band.range_text,
            band.treatment, band.every_label or "by the schedule", str(found.cite(band)),
        )  # fmt: skip
    out.print(bands)
    schedule = Table("until day", "blood count", "days", "source", title="Schedule while counts are normal")
    for phase in found.schedule:
        schedule.add_row(
            str(phase.until_day or "for good"), phase.label, str(phase.every_days), str(found.cite(phase))
        )
    out.print(schedule)
    tiers = Table("gap", "what to do", "source", title="Missed doses")
    for tier in found.missed_dose:
        beyond = " beyond the dosing interval" if tier.plus_dosing_interval else ""
        tiers.add_row(f"{tier.gap.comparator} {tier.gap.value:g} h{beyond}", tier.says, str(found.cite(tier)))
    out.print(tiers)
    open_values = unconfirmed(found)
    if open_values:
        out.print(
            f"Not confirmed against the primary text ({len(open_values)}): " + ", ".join(open_values),
            markup=False,
        )


@policy_app.command(
    "validate", epilog="Example: `clozapine-cds policy validate service/alerts/policy/files/uk-smpc.toml`"
)
def policy_validate(file: Annotated[Path, typer.Argument(help="Policy file.")]) -> None:
    """Check a policy file for gaps, overlaps, missing references and unreachable bands."""
    try:
        found = load_policy(file)
    except PolicyError as error:
        fail(str(error))
    wrong = problems(found)
    for problem in wrong:
        typer.echo(f"{file}: {problem}", err=True)
    if wrong:
        raise typer.Exit(1)
    out.print(f"{file}: {found.id} is sound; {len(unconfirmed(found))} values are not confirmed.")
    if words := reference_words(found):
        out.print(words)


@policy_app.command("diff", epilog="Example: `clozapine-cds policy diff us-label-2025 uk-smpc`")
def policy_diff_command(
    one: Annotated[str, typer.Argument(help="Policy id or .toml file: what applies now.")],
    other: Annotated[str, typer.Argument(help="Policy id or .toml file: what would apply.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
) -> None:
    """Show every difference: what changes for a patient in clinical words, then all else by its path in the file."""
    from service.alerts.policy.diff import BASIS, OTHERS, policy_diff

    before, after = _find(one), _find(other)
    changes = policy_diff(before, after)
    if as_json:
        answer = {"before": before.id, "after": after.id, "changes": msgspec.to_builtins(changes)}
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    if not changes:
        out.print(
            f"Nothing changes between {before.id} and {after.id}: they differ in nothing but their names.",
            markup=False,
        )
        return
    clinical = [c for c in changes if c.topic not in (OTHERS, BASIS)]
    if clinical:
        table = Table("", "situation", before.title, after.title, title="What changes for a patient")
        topic = ""
        for change in clinical:
            if topic and change.topic != topic:
                table.add_section()
            table.add_row(
                change.topic if change.topic != topic else "", change.situation, change.before, change.after
            )
            topic = change.topic
        out.print(table)
    for heading in (OTHERS, BASIS):
        named = [c for c in changes if c.topic == heading]
        if named:
            typer.echo(f"\n{heading} that differ ({len(named)}):")
        # Where one document takes the place of another, one line tells it of all its values.
        alike: dict[tuple[str, str], list[str]] = {}
        for change in named:
            alike.setdefault((change.before or "–", change.after or "–"), []).append(change.situation)
        for (was, becomes), situations in alike.items():
            if len(situations) == 1:
                typer.echo(f"  {situations[0]}: {was} → {becomes}")
            else:
                typer.echo(f"  {was} → {becomes}: {', '.join(situations)}")


def _upgraded(settings: Settings) -> tuple[str, str]:
    """Bring the schema up to date; gives its revision, or what is wrong."""
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from service.store.database import upgrade

    try:
        return upgrade(settings.database_url), ""
    except CommandError:
        return "", "database_url: the schema is of a newer version of the service; it stays as it is"
    except (SQLAlchemyError, OSError) as error:
        return "", f"database_url: the database cannot be used ({type(error).__name__})"


@db_app.command("upgrade", epilog="Example: `clozapine-cds db upgrade`")
def db_upgrade() -> None:
    """Bring the database schema up to date."""
    revision, wrong = _upgraded(_settings())
    if wrong:
        fail(wrong)
    out.print(f"database: schema {revision}")


@app.command(epilog="Example: `clozapine-cds demo`")
def demo() -> None:
    """Play a small day in a clinic against the service, on a free port, and print the cards."""
    from service.cli.demo import play

    raise typer.Exit(play(out))


def main() -> None:
    """Entry point: a wrong command, argument or option is one line on stderr and exit status 2."""
    os.umask(0o077)  # whatever is written may hold a record
    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "clozapine-cds"
        text = " ".join(error.format_message().split())
        if text:  # else the help was printed
            typer.echo(f"{command}: {text.rstrip('.')}. See {command} --help.", err=True)
        sys.exit(error.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
