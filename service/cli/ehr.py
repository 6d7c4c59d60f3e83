"""``clozapine-cds ehr``: the EHRs that may call."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from pydantic import ValidationError
from rich.table import Column, Table
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.alerts.say.finding_codes import check_finding_codes
from service.cli.console import plain
from service.options.forms import sentence
from service.options.options import check_told
from service.options.site import Site
from service.registry.ehr_sites import remove_ehr, save_ehr, set_enabled, stored_ehrs
from service.site.ehrs import EhrSettings, check_together
from service.site.load import load_settings
from service.site.secrets import SecretError
from service.site.settings import Settings, SettingsError, check_policies
from service.store.database import engine_for

ehr_app = typer.Typer(help="The EHRs that may call.", no_args_is_help=True)
out = plain()
#: Columns of ``ehr list`` beside name and state.
_TELLS = ("issuer", "tenant", "keys", "FHIR servers", "policy", "time zone", "profile", "from")


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _settings() -> Settings:
    try:
        settings = load_settings()
        settings.check_ehrs()
    except SettingsError as error:
        _fail(str(error), 3)
    return settings


def _stored(settings: Settings) -> list[EhrSettings]:
    """The EHRs of the database that can be read; what cannot is said on stderr."""
    engine = engine_for(settings.database_url)
    try:
        rows = stored_ehrs(engine)
    except SQLAlchemyError as error:
        _fail(
            f"database_url: the stored EHRs cannot be read ({type(error).__name__}); run clozapine-cds db upgrade first"
        )
    finally:
        engine.dispose()
    found = []
    for sealed in rows:
        row, unread = settings.secrets.opened(sealed)
        for why in unread:
            typer.echo(f"the stored EHR {row.get('name')}: {why}", err=True)
        try:
            found.append(EhrSettings.model_validate(row))
        except ValidationError as error:
            typer.echo(f"a stored EHR cannot be used: {sentence(error, str(row.get('name')))}", err=True)
    return found


def _sites(settings: Settings, ehrs: list[EhrSettings]) -> list[Site]:
    """The sites of the EHRs that can be used."""
    found = []
    for ehr in ehrs:
        with suppress(SettingsError):
            found.append(settings.site_of(ehr))
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("ehr")
    except OSError as error:
        _fail(f"{path}: {error.strerror}", 3)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        _fail(f"{path}: {error}", 3)
    if not isinstance(tables, list) or len(tables) != 1 or not isinstance(tables[0], dict):
        _fail(f"{path}: one [[ehr]] table is expected", 3)
    return dict(tables[0])


@ehr_app.command(
    "add",
    epilog="Example: `clozapine-cds ehr add north --issuer https://ehr.north.example --jwks-uri https://ehr.north.example/jwks "
    "--fhir-server https://ehr.north.example/fhir --time-zone America/New_York --profile epic --shadow`",
)
def add(
    name: Annotated[str, typer.Argument(help="Short name of the EHR: letters, digits, hyphens.")],
    issuer: Annotated[str | None, typer.Option(help="iss of its tokens.")] = None,
    tenant: Annotated[str | None, typer.Option(help="tenant of its tokens.")] = None,
    jwks_uri: Annotated[str | None, typer.Option(help="Address of its public keys.")] = None,
    jwks_file: Annotated[Path | None, typer.Option(help="File with its public keys (JWK Set).")] = None,
    fhir_server: Annotated[list[str] | None, typer.Option(help="FHIR base URL; may be repeated.")] = None,
    policy: Annotated[str | None, typer.Option(help="Policy id; the general one by default.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="IANA time zone.")] = None,
    profile: Annotated[str | None, typer.Option(help="generic, epic, oracle, athena or sandbox.")] = None,
    errors: Annotated[
        str | None, typer.Option(help="card or status: how calls that could not be judged are answered.")
    ] = None,
    hook: Annotated[list[str] | None, typer.Option(help="Hook to switch on; all by default.")] = None,
    shadow: Annotated[bool | None, typer.Option(help="Evaluate and record, show nothing.")] = None,
    enrol: Annotated[bool | None, typer.Option(help="Remember patients on clozapine.")] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="TOML file with one [[ehr]] table; options win.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Change an EHR that was added before.")] = False,
) -> None:
    """Add an EHR to the database; running services find it within half a minute."""
    settings = _settings()
    given = {
        "issuer": issuer, "tenant": tenant, "jwks_uri": jwks_uri, "jwks_file": str(jwks_file) if jwks_file else None,
        "fhir_servers": fhir_server or None, "policy": policy, "time_zone": time_zone, "profile": profile,
        "errors": errors, "hooks": hook or None, "shadow": shadow, "enrol": enrol,
    }  # fmt: skip
    content = _from_file(file) if file is not None else {}
    content |= {"name": name} | {key: value for key, value in given.items() if value is not None}
    try:
        ehr = EhrSettings.model_validate(content)
    except ValidationError as error:
        _fail(f"ehr add: {sentence(error)}", 3)
    others = [e for e in (*settings.all_ehrs, *_stored(settings)) if not (replace and e.name == name)]
    if any(e.name == name for e in others):
        hint = (
            "change it in the configuration"
            if name in {e.name for e in settings.all_ehrs}
            else "use --replace"
        )
        _fail(f"ehr add: there is an EHR named {name!r} already; {hint}", 3)
    try:
        check_finding_codes(ehr.shadow_codes)
    except ValueError as error:
        _fail(f"ehr add: shadow_codes: {error}", 3)
    try:
        check_together([*others, ehr])
        check_policies([*_sites(settings, others), settings.site_of(ehr)])
        check_told(settings.options_of(ehr))
    except ValueError as error:
        _fail(f"ehr add: {error}", 3)
    engine = engine_for(settings.database_url)
    try:
        saved = save_ehr(engine, name, ehr.stored(settings.secrets), datetime.now(UTC), replace=replace)
    except SecretError as error:
        _fail(f"ehr add: {error}", 3)
    except SQLAlchemyError as error:
        _fail(f"database_url: the EHR could not be stored ({type(error).__name__})")
    finally:
        engine.dispose()
    if not saved:
        _fail(f"ehr add: there is an EHR named {name!r} already; use --replace", 3)
    out.print(f"{name} may call now. Try it: clozapine-cds ehr check {name}")
    if ehr.jwks_uri and (wrong := _keys_away(settings, ehr)):
        typer.echo(f"{wrong} Until they can be read every call of this EHR gets 401.", err=True)


def _keys_away(settings: Settings, ehr: EhrSettings) -> str:
    """What is wrong with the keys of an EHR now; empty when they can be used."""
    from service.site.check import check_keys
    from service.site.trust import Directory

    async def trying() -> str:
        engine = engine_for(settings.database_url)
        directory = Directory(settings, engine)
        try:
            found = await check_keys(ehr, directory)
        finally:
            await directory.lines.aclose()
            engine.dispose()
        return " ".join(tried.says for tried in found if not tried.fine)

    return asyncio.run(trying())


@ehr_app.command("list", epilog="Example: `clozapine-cds ehr list`")
def list_ehrs(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, without secrets.")] = False,
) -> None:
    """List the EHRs that may call, and those that are disabled."""
    settings = _settings()
    if as_json:
        found = [
            e.model_dump(mode="json", exclude_unset=True) | {"enabled": e.enabled, "from": source}
            for source, ehrs in (("configuration", settings.all_ehrs), ("database", _stored(settings)))
            for e in ehrs
        ]
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    # What an operator looks for stays a word on a narrow terminal, too.
    table = Table(
        Column("name", no_wrap=True),
        Column("state", no_wrap=True),
        *(Column(t, overflow="fold") for t in _TELLS),
    )
    for source, ehrs in (("configuration", settings.all_ehrs), ("database", _stored(settings))):
        for e in ehrs:
            keys = e.jwks_uri or e.jwks_file or f"{len(e.keys)} given"
            chosen = settings.options_of(e)
            how = f"{chosen.profile}, shadow" if chosen.shadow else chosen.profile
            table.add_row(
                e.name, "enabled" if e.enabled else "disabled", e.issuer, e.tenant, keys, "\n".join(e.fhir_servers),
                chosen.policy, chosen.time_zone, how, source,
            )  # fmt: skip
    if not table.rows:
        out.print(
            "No EHR may call yet: add an [[ehr]] table to the configuration, or run clozapine-cds ehr add.",
            markup=False,
        )
        return
    out.print(table)


def _changed(name: str, change: Callable[[Engine], bool]) -> None:
    """Do something to a stored EHR, and say why when there is none."""
    settings = _settings()
    engine = engine_for(settings.database_url)
    try:
        done = change(engine)
    except SQLAlchemyError as error:
        _fail(
            f"database_url: the EHR could not be changed ({type(error).__name__}); run clozapine-cds db upgrade first"
        )
    finally:
        engine.dispose()
    if not done:
        configured = name in {e.name for e in settings.all_ehrs}
        where = (
            "it stands in the configuration: change it there" if configured else "see clozapine-cds ehr list"
        )
        _fail(f"there is no stored EHR named {name!r}; {where}", 3)


@ehr_app.command("remove", epilog="Example: `clozapine-cds ehr remove north`")
def remove(name: Annotated[str, typer.Argument(help="Name of the EHR.")]) -> None:
    """Remove an EHR from the database: its calls are refused within half a minute. Its patients and its trail stay."""
    _changed(name, lambda engine: remove_ehr(engine, name))
    out.print(f"{name} is removed; running services refuse its calls within half a minute.")


@ehr_app.command("disable", epilog="Example: `clozapine-cds ehr disable north`")
def disable(name: Annotated[str, typer.Argument(help="Name of the EHR.")]) -> None:
    """Refuse the calls of an EHR, and watch its patients no longer, until it is enabled; nothing of it is forgotten."""
    _changed(name, lambda engine: set_enabled(engine, name, enabled=False))
    out.print(f"{name} is disabled; running services refuse its calls within half a minute.")


@ehr_app.command("enable", epilog="Example: `clozapine-cds ehr enable north`")
def enable(name: Annotated[str, typer.Argument(help="Name of the EHR.")]) -> None:
    """Take the calls of a disabled EHR again."""
    _changed(name, lambda engine: set_enabled(engine, name, enabled=True))
    out.print(f"{name} may call again.")


@ehr_app.command(
    "check", epilog="Example: `clozapine-cds ehr check north --patient test-1 --token-file token.txt`"
)
def check(
    name: Annotated[str, typer.Argument(help="Name of the EHR.")],
    patient: Annotated[str, typer.Option(help="Id of a test patient: the searches are run for it.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File with an access token for the FHIR server.")
    ] = None,
) -> None:
    """Try the keys, the FHIR server and the searches of an EHR, and say what is wrong. Exit status 1 if something is."""
    from service.site.check import Tried, check_ehr
    from service.site.trust import Directory

    settings = _settings()
    known = {e.name: e for e in (*_stored(settings), *settings.all_ehrs)}
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        _fail(f"there is no EHR named {name!r}; known: {names}", 3)
    token = ""
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            _fail(f"--token-file: {token_file}: {error.strerror}", 3)

    async def trying() -> list[Tried]:
        engine = engine_for(settings.database_url)
        directory = Directory(settings, engine)
        try:
            return await check_ehr(known[name], settings.site_of(known[name]), directory, patient, token)
        finally:
            await directory.lines.aclose()
            engine.dispose()

    found = asyncio.run(trying())
    for tried in found:
        typer.echo(("ok     " if tried.fine else "wrong  ") + tried.says)
    raise typer.Exit(0 if all(tried.fine for tried in found) else 1)
