"""``clozapine-cds registry dispensing``: may clozapine be handed out now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from service.cli.registry.site import fail, noted, open_site, out, print_json
from service.registry import roster
from service.registry.dispensing import answer_of

app = typer.Typer()


@app.command("dispensing", epilog="Example: `clozapine-cds registry dispensing clz-p1`")
def dispensing(
    patient: Annotated[str, typer.Argument(help="FHIR id of the patient.")],
    site: Annotated[str | None, typer.Option(help="Site; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """May clozapine be handed out now, for how many days at most, and why not."""
    here, engine = open_site(site)
    try:
        with engine.begin() as connection:
            noted(connection, here, "dispensing", patient)
            answer = answer_of(connection, here, patient, datetime.now(UTC))
    except roster.NotRegistered as error:
        fail(f"{patient}: {error}")
    if as_json:
        print_json(answer)
        return
    lines = [answer["says"], answer["arithmetic"], answer["at_home"], *answer["reasons"], *answer["unconfirmed"], answer["holds"]]  # fmt: skip
    for line in lines:
        if line:
            out.print(line, markup=False, highlight=False)
