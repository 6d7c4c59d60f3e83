"""The site that a command means, its database, and what the commands print with."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson
import typer
from sqlalchemy import Connection, Engine

from service.cli.console import plain
from service.options.site import Site
from service.registry import requests, roster
from service.site.load import load_settings
from service.site.settings import SettingsError
from service.site.trust import Directory
from service.store.database import engine_for, not_ready
from service.terminology import terminology
from service.trail import acts
from service.trail.acts import Act

out = plain()


def fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def open_site(site: str | None = None) -> tuple[Site, Engine]:
    """The site that is meant, and a database that is ready."""
    here, engine, _ = open_with_directory(site)
    return here, engine


def open_with_directory(site: str | None) -> tuple[Site, Engine, Directory]:
    try:
        settings = load_settings()
    except SettingsError as error:
        fail(str(error))
    engine = engine_for(settings.database_url)
    reason = not_ready(engine)
    if reason:
        fail(f"database_url: {reason}")
    try:
        terminology.load(engine)  # what is read anew or imported may use codes of the imported terminology
        directory = Directory(settings, engine)
        sites = directory.by_name
    except SettingsError as error:
        fail(str(error))
    if site is None and len(sites) == 1:
        return next(iter(sites.values())), engine, directory
    if site not in sites:
        known = ", ".join(sorted(sites)) or "none; see clozapine-cds ehr add"
        fail(f"--site: {f'there is no site {site!r}' if site else 'name one site'}; known: {known}")
    return sites[site], engine, directory


def noted(
    connection: Connection,
    here: Site,
    act: Act,
    patient: str = "",
    *,
    alert: int | None = None,
    rows: int | None = None,
) -> None:
    """Note a command in the trail, under the account that runs it."""
    key = roster.key_of(connection, here.name, patient) if patient else ""
    acts.note(
        connection, datetime.now(UTC), shell_name(), "shell", act, site=here.name, patient_key=key, alert=alert, rows=rows
    )  # fmt: skip


def shell_name() -> str:
    """Who runs a command, as the machine knows them."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers
        account = str(os.getuid())
    return f"command line: {account}"


def moment_of(option: str, value: str | None, here: Site) -> datetime:
    if value is None:
        return datetime.now(UTC)
    moment = requests.moment_of(value, here.zone)
    if moment is None:
        fail(f"{option}: {value!r} is not an ISO 8601 date and time, such as 2026-11-20T10:00:00Z")
    return moment


def print_json(value: Any) -> None:
    typer.echo(
        orjson.dumps(
            value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC, default=str
        ).decode()
    )
