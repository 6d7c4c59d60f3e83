"""Findings as FHIR: one DetectedIssue each, one Provenance and one OperationOutcome, built and validated with fhir.resources (R4B models serve R4)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import orjson
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.detectedissue import DetectedIssue
from msgspec import Struct

from service.alerts.facts.ledger import Ledger
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.say.cards import heading, not_shown, source_text, told
from service.alerts.say.finding import ChangeDose, Evidence, FaultObserver, Finding, RemoveDraft
from service.alerts.say.finding_codes import title_of
from service.fhir.references import is_id, read_reference
from service.hooks.identifiers import Identifiers
from service.operation.act_codes import ACT_CODES, act_codes
from service.operation.issues import outcome
from service.operation.narrative import narrative
from service.operation.question import Question
from service.operation.standing import Whole, summary, sums
from service.options.site import Site

#: CDS Hooks indicator -> DetectedIssue.severity (http://hl7.org/fhir/detectedissue-severity).
SEVERITY = {"critical": "high", "warning": "moderate", "info": "low"}
_URN = re.compile(r"urn:(uuid:[0-9A-Fa-f-]{36}|oid:[0-2](\.(0|[1-9][0-9]*))+)")
_ESCAPED = re.compile(r"\\([\\`*_\[\]|~#@!.:])")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_MEDICATION = (
    "MedicationRequest/",
    "MedicationDispense/",
    "MedicationStatement/",
    "MedicationAdministration/",
)
Json = dict[str, Any]


class Answer(Struct, frozen=True):
    """The response body and the ids given to its DetectedIssues, in the order of the findings."""

    body: bytes
    ids: tuple[str, ...]


def unmarked(text: str) -> str:
    """A Markdown line of a finding as plain text; record text keeps no angle brackets."""
    plain = _BOLD.sub(r"\1", text).replace("&lt;", "‹").replace("&gt;", "›")
    return _ESCAPED.sub(r"\1", html.unescape(plain)).replace("<", "‹").replace(">", "›")


def answer(
    findings: Sequence[Finding],
    snapshot: PatientSnapshot,
    site: Site,
    question: Question,
    said: Whole,
    as_of: datetime,
    now: datetime,
    on_fault: FaultObserver = lambda name, fault: None,
) -> Answer:
    """The Bundle that answers one question.

    Args:
        findings: what is shown, most severe first.
        snapshot: the facts they rest on.
        site: names the policy and the code system of findings.
        question: the sender's own references, and the faults of what was sent: they stand in the OperationOutcome at the end.
        said: what the answer says as a whole.
        as_of: the moment the question is about.
        now: the moment of the answer.
        on_fault: told of a finding that could not be told.

    A finding that cannot be told in valid FHIR costs itself: a ``data-unavailable`` one takes its place, and ``on_fault`` is told.
    Raises pydantic.ValidationError if anything else that was built is not valid FHIR.
    """
    try:
        return _answer(findings, snapshot, site, question, said, as_of, now)
    except Exception:
        # Nearly never; then each is looked at by itself to find the one at fault.
        told = [_told(f, snapshot, site, question, as_of, on_fault) for f in findings]
        return _answer(told, snapshot, site, question, said, as_of, now)


def _told(
    finding: Finding,
    snapshot: PatientSnapshot,
    site: Site,
    question: Question,
    as_of: datetime,
    on_fault: FaultObserver,
) -> Finding:
    """The finding, or what is said in its place."""
    try:
        DetectedIssue.model_validate(_issue(finding, "probe", snapshot, site, as_of, question.sent_as))
    except Exception as fault:
        on_fault(f"issue {finding.code}", fault)
        return not_shown(finding.code, finding.severity, finding.subject)
    return finding


def _answer(
    findings: Sequence[Finding],
    snapshot: PatientSnapshot,
    site: Site,
    question: Question,
    said: Whole,
    as_of: datetime,
    now: datetime,
) -> Answer:
    new = Identifiers()
    ids = tuple(new.new() for _ in findings)
    entries = [
        {
            "fullUrl": f"urn:uuid:{identifier}",
            "resource": _issue(finding, identifier, snapshot, site, as_of, question.sent_as),
        }
        for finding, identifier in zip(findings, ids, strict=True)
    ]
    provenance, told = new.new(), new.new()
    targets = ids or (told,)
    entries.append(
        {
            "fullUrl": f"urn:uuid:{provenance}",
            "resource": _provenance(provenance, targets, site, said.ledger, as_of, now),
        }
    )
    issues = [summary(said, len(findings), site.links, question.where), *question.issues]
    whole = {**outcome(issues), "id": told, "text": narrative(issues[0].text)}
    entries.append({"fullUrl": f"urn:uuid:{told}", "resource": whole})
    content: Json = {"type": "collection", "timestamp": now.isoformat(), "entry": entries}
    checked = orjson.loads(Bundle.model_validate(content).model_dump_json(exclude_none=True))
    return Answer(orjson.dumps({"resourceType": "Bundle", **checked}), ids)


def _issue(
    finding: Finding,
    identifier: str,
    snapshot: PatientSnapshot,
    site: Site,
    as_of: datetime,
    sent_as: dict[str, str],
) -> Json:
    title = title_of(finding.code)
    patient = f"Patient/{snapshot.patient_id}"
    content: Json = {
        "resourceType": "DetectedIssue",
        "id": identifier,
        "text": narrative(unmarked(finding.summary)),
        "status": "final",
        "code": {
            "coding": [
                {"system": site.links.finding_system, "code": finding.code, "display": title},
                *_standard(finding.code),
            ],
            "text": title,
        },
        "severity": SEVERITY[finding.severity],
        "identifiedDateTime": as_of.isoformat(),
        "author": _service(),
        "detail": _detail(finding),
    }
    evidence = [_evidence(e, sent_as) for e in finding.evidence]
    evidence += [{"code": [{"text": f"Missing: {missing}"}]} for missing in map(unmarked, finding.missing)]
    implicated = _implicated(finding, snapshot)
    optional: Json = {
        "patient": _reference(patient, sent_as),
        "implicated": [known for ref in implicated if (known := _reference(ref, sent_as))],
        "evidence": evidence,
        "mitigation": [{"action": {"text": unmarked(step)}} for step in finding.suggested],
        "reference": finding.citation.url,
    }
    return content | {key: value for key, value in optional.items() if value}


def _detail(finding: Finding) -> str:
    """The card in plain text: a pharmacy system shows no Markdown."""
    parts = [unmarked(finding.summary)]
    for title, lines in (
        ("card.why", finding.why),
        ("card.policy", (*finding.policy_says, source_text(finding.citation))),
        ("card.unchecked", finding.unchecked),
    ):
        if lines:
            parts.append(
                "\n".join(
                    [f"{heading(title)}:", *(f"- {unmarked(line)}" for line in told(filter(None, lines)))]
                )
            )
    return "\n\n".join(parts)


def _standard(code: str) -> list[Json]:
    act = act_codes().get(code)
    return [{"system": ACT_CODES, "code": act.code, "display": act.display}] if act is not None else []


def _reference(ref: str, sent_as: dict[str, str]) -> Json:
    """The reference as the sender wrote it; empty for one that FHIR does not have: a resource without an id, or with one that is none."""
    text = sent_as.get(ref, ref)
    target = read_reference(text)
    if target.form in ("relative", "absolute"):
        return {"reference": text} if target.type and is_id(target.id) else {}
    return {"reference": text} if target.form == "urn" and _URN.fullmatch(text) else {}


def _evidence(evidence: Evidence, sent_as: dict[str, str]) -> Json:
    built: Json = {}
    if evidence.text:
        built["code"] = [{"text": unmarked(evidence.text)}]
    if evidence.ref and (known := _reference(evidence.ref, sent_as)):
        built["detail"] = [known]
    return built or {"code": [{"text": "a record without an id"}]}


def _implicated(finding: Finding, snapshot: PatientSnapshot) -> list[str]:
    """The medication records that the finding is about; without one, the clozapine orders that are asked about."""
    refs = [e.ref for e in finding.evidence if e.ref.startswith(_MEDICATION)]
    refs += [o.ref for o in finding.offers if isinstance(o, RemoveDraft | ChangeDose)]
    if finding.subject.startswith("order:Medication"):
        refs.append(finding.subject.removeprefix("order:"))
    if not refs:
        refs = [d.ref for d in snapshot.drafts if "clozapine" in d.drugs]
    return [ref for ref in dict.fromkeys(refs) if ref]


def _service() -> Json:
    return {"type": "Device", "display": f"Clozapine safety service, version {version('clozapine-cds')}"}


def _provenance(
    identifier: str, ids: Sequence[str], site: Site, ledger: Ledger, as_of: datetime, now: datetime
) -> Json:
    """Which policy and which version of the service said so, as of when, and how much of what was sent it has understood."""
    policy = site.policy
    return {
        "resourceType": "Provenance",
        "id": identifier,
        "text": narrative(f"{policy.title}: {sums(ledger)}"),
        "target": [{"reference": f"urn:uuid:{target}"} for target in ids],
        "occurredDateTime": as_of.isoformat(),
        "recorded": now.isoformat(),
        "policy": [f"{site.links.base_url}/policies/{policy.id}"],
        "agent": [
            {
                "type": {"coding": [{"system": _AGENT, "code": "assembler", "display": "Assembler"}]},
                "who": _service(),
            }
        ],
        "entity": [
            {
                "role": "source",
                "what": {
                    "identifier": {"value": policy.id},
                    "display": f"{policy.title}, valid from {policy.valid_from}",
                },
            },
            {
                "role": "source",
                "what": {"display": sums(ledger)},
            },
        ],
    }
