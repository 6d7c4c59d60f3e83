"""A small day in a clinic, played against the real service over HTTP (``clozapine-cds demo``)."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from rich.console import Console

from service.cli.printing import print_cards
from service.ops.logging import configure
from service.site.load import load_settings
from service.store.database import upgrade
from service.web.app import create_app

#: What happens, and the example that holds the call.
DAY = (
    (
        "08:10  The psychiatrist writes a first clozapine order; no blood count is on record.",
        "start-without-anc",
    ),
    ("08:40  The count is there, the baseline is complete: the order is signed again.", "start-all-fine"),
    ("09:15  A colleague picks fluvoxamine for a patient on clozapine.", "fluvoxamine-added"),
    ("10:05  A renewal is signed; this morning's ANC is 0.4.", "severe-neutropenia"),
    ("11:30  The pharmacist verifies a renewal; the patient's supply ran out days ago.", "supply-ran-out"),
    ("13:45  A chart is opened: the ANC is a little low.", "mild-neutropenia"),
    ("15:20  A chart is opened: the patient had 39.1 °C yesterday.", "fever"),
    ("16:00  An antibiotic for somebody who does not take clozapine.", "not-about-clozapine"),
)


def _examples() -> dict[str, Path]:
    folder = Path(__file__).parents[2] / "examples"
    return {path.name.partition("-")[2]: path for path in folder.glob("*-*") if path.is_dir()}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def play(console: Console) -> int:
    """Start the service, play the day, print the cards. 0 when every answer was the expected one."""
    examples = _examples()
    missing = [name for _, name in DAY if name not in examples]
    if missing:
        console.print(f"The demo needs the folder examples/ of the project ({', '.join(missing)} not found).")
        return 1
    expected = {name: json.loads((examples[name] / "expected.json").read_text()) for _, name in DAY}
    moment = datetime.fromisoformat(expected[DAY[0][1]]["as_of"])
    with tempfile.TemporaryDirectory(prefix="clozapine-demo-") as folder:
        port = _free_port()
        url = f"sqlite:///{folder}/demo.db"
        configure("error")
        upgrade(url)
        settings = load_settings(
            database_url=url, base_url=f"http://127.0.0.1:{port}", policy="us-label-2025"
        )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings, clock=lambda: moment), port=port, log_config=None, access_log=False
            )
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.05)
            console.print(
                f"The service runs on http://127.0.0.1:{port}; for it, it is {moment:%A %d %B %Y}.\n"
            )
            # As an EHR calls: over connections that stay open.
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                client.get("/cds-services")
                wrong = [
                    scene
                    for scene, name in DAY
                    if not _scene(console, client, scene, examples[name], expected[name])
                ]
        finally:
            server.should_exit = True
            thread.join(10)
    if wrong:
        console.print(f"{len(wrong)} answers were not the expected ones.")
        return 1
    console.print("The day is over; every answer was the expected one.")
    return 0


def _scene(
    console: Console, client: httpx.Client, scene: str, folder: Path, expected: dict[str, Any]
) -> bool:
    request = json.loads((folder / "request.json").read_text())
    hook = request["hook"]
    started = time.perf_counter()
    response = client.post(f"/cds-services/clozapine-{hook}", json=request)
    took = (time.perf_counter() - started) * 1000
    console.rule(scene, align="left")
    console.print(
        f"POST /cds-services/clozapine-{hook}  {response.status_code}  {took:.1f} ms  ({folder.name})",
        style="dim",
    )
    if response.status_code != 200:
        console.print(response.text, markup=False)
        return False
    cards = response.json()["cards"]
    print_cards(console, cards)
    if not cards:
        console.print("No cards: nothing to say.\n")
    found = [(card["source"]["topic"]["code"], card["indicator"]) for card in cards]
    return found == [(card["code"], card["indicator"]) for card in expected["cards"]]
