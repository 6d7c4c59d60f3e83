"""``clozapine-cds registry``: all its commands."""

from __future__ import annotations

import typer

from service.cli.registry import alerts, dispensing, doctor, files, patients, stating, sweeping

app = typer.Typer(help="Patients on clozapine, watched between visits.", no_args_is_help=True)
for part in (patients, dispensing, stating, alerts, sweeping, doctor, files):
    app.add_typer(part.app)
