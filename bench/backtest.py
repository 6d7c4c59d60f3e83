"""The backtest alone: patients a second on one core, and memory at one and at two sizes of export."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from bench.data import NOW, RXNORM, medication, observation
from service.alerts.policy.policy import policy_by_id
from service.backtest.replay import Protocol
from service.backtest.run import OPTIONAL_TYPES, Options, backtest
from service.ops import garbage
from service.options.options import SiteOptions
from service.options.site import site_with

#: Aim of the specification: patients a second a core.
AIM = 1000
PATIENTS = 4000
#: Of so many patients in the hospital one takes clozapine.
ONE_IN = 4
COUNTS = 24
OTHERS = ("lisinopril 10 MG Oral Tablet", "senna 8.6 MG Oral Tablet", "ciprofloxacin 500 MG Oral Tablet")


def write_export(directory: Path, patients: int, one_in: int = ONE_IN) -> int:
    """An export of so many patients on clozapine and ``one_in`` times as many in all; gives its size in bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    names = ("Patient", "MedicationRequest", "Observation", "Condition")
    files = {name: (directory / f"{name}.000.ndjson").open("wb") for name in names}

    def put(content: dict[str, Any]) -> None:
        files[content["resourceType"]].write(orjson.dumps(content) + b"\n")

    for index in range(patients * one_in):
        person = f"p{index}"
        subject = {"subject": {"reference": f"Patient/{person}"}}
        put({"resourceType": "Patient", "id": person, "gender": "female", "birthDate": "1984-05-02"})
        if index % one_in == 0:
            order = medication(0, "clozapine 100 MG Oral Tablet", RXNORM, "197535") | subject
            put(order | {"id": f"{person}-clz"})
        for number in range(2):
            label = chance.choice(OTHERS)
            order = medication(number + 1, label, RXNORM, f"9{number:05d}") | subject
            written = (NOW - timedelta(days=chance.randrange(30, 380))).strftime("%Y-%m-%dT%H:%M:%SZ")
            put(order | {"id": f"{person}-m{number}", "authoredOn": written})
        for number in range(COUNTS):
            taken = (NOW - timedelta(days=400 * number / COUNTS, hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
            result = observation(number) | subject | {"id": f"{person}-o{number}"}
            put(result | {"effectiveDateTime": taken, "issued": taken})
        put({"resourceType": "Condition", "id": f"{person}-c", "code": {"text": "Schizophrenia"}} | subject)
    for file in files.values():
        file.close()
    return sum(f.stat().st_size for f in directory.iterdir())


def once(directory: Path) -> dict[str, float]:
    """One run in this process, on one core."""
    policy = policy_by_id("us-label-2025")
    garbage.tune()
    options = Options(
        directory=directory,
        protocols=(Protocol(policy.id, policy),),
        site=site_with("bench", SiteOptions()),
        none_of=frozenset(OPTIONAL_TYPES),
    )
    # Seconds of the processor: what a core can do, whatever else the machine is doing.
    done = backtest(options, clock=time.process_time)
    return {
        "patients": done.tally.patients,
        "evaluations": done.tally.evaluations,
        "lines": done.export.lines,
        "seconds_reading": done.seconds_reading,
        "seconds_evaluating": done.seconds_evaluating,
        "patients_per_second": done.tally.patients / done.seconds_evaluating,
        "evaluations_per_second": done.tally.evaluations / done.seconds_evaluating,
        "lines_per_second": done.export.lines / done.seconds_reading,
        # Linux counts in kB.
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure(patients: int = PATIENTS) -> list[dict[str, float]]:
    """Two sizes, each in a process of its own, so that the memory of one does not hide the other's."""
    rows = []
    for size in (patients // 2, patients):
        with tempfile.TemporaryDirectory(prefix="clozapine-bench-") as name:
            megabytes = write_export(Path(name) / "export", size) / 1e6
            done = subprocess.run(
                [sys.executable, "-m", "bench.backtest", str(Path(name) / "export")],
                check=True,
                stdout=subprocess.PIPE,
            )
            rows.append({"megabytes": megabytes} | orjson.loads(done.stdout))
    return rows


def table(rows: list[dict[str, float]]) -> Table:
    """The measurements for people."""
    shown = Table(
        "backtest, one core: export MB",
        "patients on clozapine",
        "orders judged",
        "patients/s",
        "aim",
        "orders/s",
        "lines read/s",
        "peak memory MB",
    )
    for row in rows:
        met = "[green]" if row["patients_per_second"] >= AIM else "[red]"
        shown.add_row(
            f"{row['megabytes']:.0f}", f"{row['patients']:.0f}", f"{row['evaluations']:.0f}", f"{met}{row['patients_per_second']:.0f}", f"{AIM}",
            f"{row['evaluations_per_second']:.0f}", f"{row['lines_per_second']:.0f}", f"{row['peak_mb']:.0f}",
        )  # fmt: skip
    return shown


if __name__ == "__main__":
    print(orjson.dumps(once(Path(sys.argv[1]))).decode())
