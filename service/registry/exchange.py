"""The roster in and out: CSV and FHIR NDJSON in, a FHIR Group and NDJSON out."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, tzinfo
from pathlib import Path
from typing import Any, TextIO

import msgspec
import orjson
from msgspec import Struct
from sqlalchemy import Engine, select

from service.alerts.facts.patient import Dose, Measurement, Medication, PatientSnapshot
from service.alerts.facts.record_text import RecordText, to_show
from service.alerts.say.language import english
from service.fhir import snapshot as fhir_snapshot
from service.fhir.decode import read_one
from service.fhir.gather import Gathered, SourceData
from service.fhir.references import is_id, read_reference
from service.fhir.resources import (
    AllergyIntolerance,
    Condition,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Patient,
    Resource,
)
from service.fhir.subjects import subject_of
from service.options.site import Site
from service.registry.requests import is_day, moment_of
from service.registry.roster import enrol
from service.store.private_files import open_private, private_folder
from service.store.roster_tables import Alert, AlertEvent, PatientFlag, RegisteredPatient

#: Which source a resource type belongs to; Observations and the rest: counts.
SOURCES: dict[type, str] = {
    Patient: "patient",
    MedicationRequest: "medications",
    MedicationStatement: "statements",
    MedicationDispense: "dispenses",
    MedicationAdministration: "administrations",
    Condition: "conditions",
    AllergyIntolerance: "allergies",
}
_COLUMNS = ("patient", "course_start", "anc", "anc_at", "dose_mg")
_MOST_PROBLEMS = 1000
#: What no count and no dose is (slips of the unit: ×10⁹/L, grams, micrograms), for this column only. Laboratories count in steps of 10/µL.
_STEP = 10
_SMALLEST_MG, _LARGEST_MG = 1, 5000
#: A line longer than this is no resource of one patient.
_LONGEST_LINE = 5_000_000


class ImportFailed(ValueError):
    """The file cannot be used at all; the message says what was expected."""


class Imported(Struct):
    """What an import did."""

    enrolled: int = 0
    problems: list[str] = msgspec.field(default_factory=list)

    def problem(self, line: int, why: str) -> None:
        """Note a line that was skipped."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"line {line}: {why}")


def import_file(
    engine: Engine, site: Site, path: Path, as_of: datetime, on_line: Callable[[int], None] = lambda n: None
) -> Imported:
    """Enrol the patients of a file. Raises ImportFailed for a file that is neither CSV nor NDJSON, or that cannot be read to its end."""
    if not path.is_file():
        raise ImportFailed("there is no such file")
    names = path.name.removesuffix(".gz")
    try:
        if names.endswith(".csv"):
            return _import_csv(engine, site, path, as_of, on_line)
        if names.endswith(".ndjson"):
            return _import_ndjson(engine, site, path, as_of, on_line)
    except UnicodeDecodeError:
        raise ImportFailed("its text is not UTF-8; save it as UTF-8 and import it again") from None
    except csv.Error as error:
        raise ImportFailed(f"it is not readable as CSV ({error})") from None
    except (EOFError, OSError, zlib.error) as error:
        raise ImportFailed(f"it cannot be read to its end ({type(error).__name__})") from None
    raise ImportFailed("a .csv or .ndjson file is expected (.gz too)")


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _import_csv(
    engine: Engine, site: Site, path: Path, as_of: datetime, on_line: Callable[[int], None]
) -> Imported:
    done = Imported()
    with _open(path) as file:
        reader = csv.DictReader(file)
        unknown = sorted(set(reader.fieldnames or ()) - set(_COLUMNS))
        if "patient" not in (reader.fieldnames or ()) or unknown:
            found = f"; not known: {', '.join(unknown)}" if unknown else ""
            raise ImportFailed(
                f"the first line must name columns out of {', '.join(_COLUMNS)}, patient among them{found}"
            )
        for row in reader:
            try:
                snapshot = _from_row(row, site.zone, path.name, as_of)
            except ValueError as error:
                done.problem(reader.line_num, str(error))
                continue
            with engine.begin() as connection:
                if (
                    enrol(connection, site.name, site.policy, snapshot, as_of, by=f"import {path.name}")
                    is not None
                ):
                    done.enrolled += 1
                else:
                    done.problem(reader.line_num, "not enrolled: not on clozapine, or taken off the roster")
            on_line(reader.line_num)
    return done


def _moment(column: str, text: str, zone: tzinfo) -> tuple[datetime, bool]:
    moment = moment_of(text, zone)
    if moment is None:
        raise ValueError(f"{column}: {text!r} is not an ISO 8601 date of a year from 1900 on")
    if is_day(text):
        return datetime.combine(moment.date(), time(), zone), True
    return moment, False


def _count(text: str) -> float:
    """An ANC, cells/µL. Raises ValueError."""
    value = _number("anc", text, "cells/µL")
    if 0 < value < _STEP or (value < 10 * _STEP and value != int(value)):
        # 2.5 of a laboratory that counts in ×10⁹/L would be agranulocytosis.
        raise ValueError(
            f"anc: {text} cells/µL is not possible; a count of {text} ×10⁹/L is written as {value * 1000:g}"
        )
    return value


def _number(column: str, text: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column}: {text!r} is not a number ({unit})") from None
    if not 0 <= value <= 100_000:
        raise ValueError(f"{column}: {text} {unit} is not possible")
    return value


def _from_row(row: dict[str, str | None], zone: tzinfo, name: str, as_of: datetime) -> PatientSnapshot:
    text = {key: (value or "").strip() for key, value in row.items() if key in _COLUMNS}
    patient = text["patient"].removeprefix("Patient/")
    if not is_id(patient):
        raise ValueError("patient: the FHIR id of the patient is expected")
    start = _moment("course_start", text["course_start"], zone) if text.get("course_start") else None
    if start is not None and start[0] > as_of:
        raise ValueError(f"course_start: {text['course_start']} lies in the future")
    measurements: dict[str, tuple[Measurement, ...]] = {}
    if text.get("anc"):
        value = _count(text["anc"])
        if not text.get("anc_at"):
            raise ValueError("anc_at: the date of the count is missing")
        at, date_only = _moment("anc_at", text["anc_at"], zone)
        if at > as_of:
            raise ValueError(f"anc_at: {text['anc_at']} lies in the future")
        measurements["anc"] = (
            Measurement("anc", value, at, f"import:{name}", to_show(f"{text['anc']} cells/µL"), date_only),
        )
    record = Medication(
        ref=f"import:{name}",
        role="statement",
        drugs=("clozapine",),
        label=RecordText("clozapine"),
        status="active",
        start=start[0] if start else None,
        start_date_only=start[1] if start else False,
        dose=_dose(text.get("dose_mg", "")),
    )
    # Only what the file tells is known; the rest was never looked at.
    return PatientSnapshot(
        patient_id=patient,
        hook="sweep",
        zone=zone,
        medications=(record,),
        measurements=measurements,
        sources={"statements": "incomplete", "counts": "incomplete"},
    )


def _dose(text: str) -> Dose | None:
    """The daily dose, mg."""
    if not text:
        return None
    mg = _number("dose_mg", text, "mg/day")
    if not _SMALLEST_MG <= mg <= _LARGEST_MG:
        raise ValueError(f"dose_mg: {text} mg/day is not possible; the daily dose in milligrams is expected")
    return Dose(mg, mg, text=to_show(f"{text} mg/d"))


def _import_ndjson(
    engine: Engine, site: Site, path: Path, as_of: datetime, on_line: Callable[[int], None]
) -> Imported:
    """FHIR resources, one a line, in any order; gathered by patient, so the file must fit into memory."""
    done = Imported()
    people: dict[str, dict[str, list[Resource]]] = {}
    with _open(path) as file:
        for number, line in enumerate(_lines(file), 1):
            on_line(number)
            if not line.strip():
                continue
            resource, problem = read_one(line.encode(), "import")
            if problem is not None:
                done.problem(number, english().reason(problem.reason))
                continue
            patient = patient_of(resource) if resource is not None else ""
            if resource is None or not patient:
                continue
            if not is_id(patient):
                done.problem(number, "the patient's id is no FHIR id")
                continue
            source = SOURCES.get(type(resource), "counts")
            people.setdefault(patient, {}).setdefault(source, []).append(resource)
    for patient, sources in people.items():
        gathered = Gathered({s: SourceData("incomplete", resources, []) for s, resources in sources.items()})
        snapshot = fhir_snapshot.build(
            patient_id=patient,
            hook="sweep",
            zone=site.zone,
            gathered=gathered,
            maps=site.maps,
        )
        with engine.begin() as connection:
            if (
                enrol(connection, site.name, site.policy, snapshot, as_of, by=f"import {path.name}")
                is not None
            ):
                done.enrolled += 1
    return done


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        yield line


def patient_of(resource: Resource, own_base: str = "") -> str:
    """Id of the patient a resource belongs to; empty when it names none, or one of another server than ``own_base`` (if that is known)."""
    if type(resource) is Patient:
        return resource.id or ""
    subject = subject_of(resource)
    target = read_reference(subject.reference) if subject is not None else None
    if target is None or target.type != "Patient" or (own_base and target.base not in ("", own_base)):
        return ""
    return target.id


def export_files(engine: Engine, site: str, folder: Path, at: datetime) -> dict[str, int]:
    """Write ``group.json``, ``patients.ndjson``, ``flags.ndjson``, ``alerts.ndjson`` and ``alert-events.ndjson``; returns lines by file."""
    private_folder(folder)
    written: dict[str, int] = {}
    tables: list[Any] = [RegisteredPatient, PatientFlag, Alert, AlertEvent]
    patients, flags, alerts, events = (t.__table__ for t in tables)
    own = select(patients.c.id).where(patients.c.site == site)
    with engine.connect() as connection:
        members = connection.execute(
            select(patients.c.patient_id)
            .where(patients.c.site == site, patients.c.state == "on")
            .order_by(patients.c.id)
        ).scalars()
        group = _group(site, list(members), at)
        with open_private(folder / "group.json") as file:
            file.write(orjson.dumps(group, option=orjson.OPT_INDENT_2))
        written["group.json"] = group["quantity"]
        queries: dict[str, Any] = {
            "patients.ndjson": select(patients).where(patients.c.site == site).order_by(patients.c.id),
            "flags.ndjson": select(flags).where(flags.c.patient.in_(own)).order_by(flags.c.id),
            "alerts.ndjson": select(alerts).where(alerts.c.site == site).order_by(alerts.c.id),
            "alert-events.ndjson": select(events)
            .join(alerts, alerts.c.id == events.c.alert)
            .where(alerts.c.site == site)
            .order_by(events.c.id),
        }
        for name, query in queries.items():
            written[name] = 0
            with open_private(folder / name) as file:
                for row in connection.execution_options(yield_per=500).execute(query):
                    values = dict(row._mapping)
                    if "facts" in values:
                        values["facts"] = orjson.loads(values["facts"])
                    file.write(orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))
                    written[name] += 1
    return written


def _group(site: str, members: list[str], at: datetime) -> dict[str, Any]:
    """The roster as FHIR, checked."""
    from fhir.resources.R4B.group import Group  # half a second that other commands need not wait

    content = {
        "type": "person",
        "actual": True,
        "name": f"Patients on clozapine, {site}, {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "quantity": len(members),
        "member": [{"entity": {"reference": f"Patient/{m}"}} for m in members],
    }
    Group.model_validate({k: v for k, v in content.items() if k != "member" or v})
    return {"resourceType": "Group", **content}
