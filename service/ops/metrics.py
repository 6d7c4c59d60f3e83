"""Counts and times for operators (Prometheus). No label is free text, none names a patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from service.alerts.facts.ledger import Ledger
from service.ops.counters import Reading, Tally, Timings
from service.ops.siblings import Siblings

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)


class Metrics:
    """All metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Tally(
            "clozapine_cds_requests",
            "Calls by service and status; a failure that was said by a card, with 200, counts under its own status.",
            ["service", "status"],
        )
        self._seconds = Timings(
            "clozapine_cds_request_seconds", "Time to answer, by service.", "service", _BUCKETS
        )
        self._findings = Tally(
            "clozapine_cds_findings", "Findings by code and severity.", ["code", "severity"]
        )
        self._cards = Tally(
            "clozapine_cds_cards", "Cards shown, by finding, site and hook.", ["code", "site", "hook"]
        )
        self._not_understood = Tally(
            "clozapine_cds_not_understood",
            "Resources, and elements of resources that were read, which nobody could understand, by site and kind.",
            ["site", "kind"],
        )
        self.registry.register(self._not_understood)
        for counted in (self._requests, self._seconds, self._findings, self._cards):
            self.registry.register(counted)
        self._faults = Counter(
            "clozapine_cds_rule_faults",
            "Rules that failed, by rule and exception.",
            ["rule", "exception"],
            registry=self.registry,
        )
        self._feedback = Counter(
            "clozapine_cds_feedback",
            "Feedback by outcome, and whether the card was known, unknown or another site's.",
            ["outcome", "card"],
            registry=self.registry,
        )
        self._refused = Counter(
            "clozapine_cds_auth_refused",
            "Calls refused with 401, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._registry_refused = Counter(
            "clozapine_cds_registry_refused",
            "Requests to the registry that were refused, by status; 401 and 429: a wrong token.",
            ["status"],
            registry=self.registry,
        )
        self._foreign_servers = Counter(
            "clozapine_cds_foreign_fhir_servers",
            "Calls that named a FHIR server which is not on their site's list; it was not asked.",
            registry=self.registry,
        )
        self.replay_faults = Counter(
            "clozapine_cds_replay_store_faults",
            "Calls whose token could not be compared with those of other replicas.",
            registry=self.registry,
        )
        self._queued = Gauge(
            "clozapine_cds_record_queue", "Calls waiting to be recorded.", registry=self.registry
        )
        self._oldest = Gauge(
            "clozapine_cds_record_oldest_seconds",
            "For how long the oldest call that waits has waited to be recorded.",
            registry=self.registry,
        )
        self.dropped = Counter(
            "clozapine_cds_records_dropped", "Calls that could not be recorded.", registry=self.registry
        )
        self._answers = Counter(
            "clozapine_cds_card_answers",
            "What became of cards, by finding, site, hook and coded reason.",
            ["code", "site", "hook", "outcome", "reason"],
            registry=self.registry,
        )
        self._response = Histogram(
            "clozapine_cds_card_response_seconds",
            "Time from a card to its answer, by finding and site.",
            ["code", "site"],
            buckets=(1, 5, 15, 60, 300, 3600, 86_400),
            registry=self.registry,
        )
        self._not_judged = Counter(
            "clozapine_cds_calls_not_judged",
            "Hook calls that could not be judged, by service, cause, and how that was said: by a card (with 200) or by the status.",
            ["service", "cause", "said_by"],
            registry=self.registry,
        )
        self._renewed = Counter(
            "clozapine_cds_connections_renewed",
            "Times that the connections of a line were stuck and were renewed.",
            ["line"],
            registry=self.registry,
        )
        self._connections = Counter(
            "clozapine_cds_connections_refused",
            "Connections that were ended before there was a request, by status, or to make room for another.",
            ["reason"],
            registry=self.registry,
        )
        self._ended = Counter(
            "clozapine_cds_judging_ended",
            "Processes for large calls that were ended, by why: a call took more than its share of work, was late, or a fault.",
            ["why"],
            registry=self.registry,
        )
        self._alerts = Counter(
            "clozapine_cds_alerts", "Changes of alerts by the sweep.", ["what"], registry=self.registry
        )
        self._arrived = Counter(
            "clozapine_cds_results_judged",
            "Deliveries of results, by what became of them: done, unknown (patient not watched), failed (tried again), aside (given up).",
            ["outcome"],
            registry=self.registry,
        )
        self._arrival = Histogram(
            "clozapine_cds_results_seconds",
            "Seconds from the acceptance of results to their judgement.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
            registry=self.registry,
        )
        self._told = Counter(
            "clozapine_cds_notifications",
            "Notifications of Subscriptions: event, handshake, heartbeat, status, gap (events missing), refused, stranger.",
            ["kind"],
            registry=self.registry,
        )
        self._subscriptions = Counter(
            "clozapine_cds_subscription_looks",
            "Looks at Subscriptions at the EHRs, by site and by what was found: active, requested, error, off, made, renewed, unknown.",
            ["site", "found"],
            registry=self.registry,
        )
        self._reread = Counter(
            "clozapine_cds_reread",
            "Readings from the EHR because something changed there: read, failed (tried again), given up (left to the sweep).",
            ["outcome"],
            registry=self.registry,
        )
        self._swept = Counter("clozapine_cds_swept", "Patients evaluated by sweeps.", registry=self.registry)
        self._outbox = Counter(
            "clozapine_cds_outbox", "Notices to the EHR by outcome.", ["outcome"], registry=self.registry
        )

    def watch_trail(self, waiting: Callable[[], tuple[int, float]]) -> None:
        """Show how many calls wait to be recorded, and how long the oldest has, whenever the metrics are read."""
        self._queued.set_function(lambda: waiting()[0])
        self._oldest.set_function(lambda: waiting()[1])

    def watch_requests(
        self, under_way: Callable[[], Mapping[str, int]], left_alone: Callable[[], Mapping[str, int]]
    ) -> None:
        """Show how many outgoing requests are under way, and which servers are left alone, by line, whenever the metrics are read."""
        self.registry.register(
            Reading(
                "clozapine_cds_servers_left_alone",
                "FHIR servers that kept call after call waiting and are left alone for a moment, by line.",
                "line",
                left_alone,
            )
        )
        self.registry.register(
            Reading(
                "clozapine_cds_outgoing_requests",
                "Outgoing requests under way, by line (a FHIR server of a site, keys, terminology).",
                "line",
                under_way,
            )
        )

    def not_judged(self, service: str, cause: str, said_by: str) -> None:
        """Count a hook call that could not be judged."""
        self._not_judged.labels(service, cause, said_by).inc()

    def renewed(self, line: str) -> None:
        """Count a line whose connections were stuck and were renewed."""
        self._renewed.labels(line).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that was ended before there was a request."""
        self._connections.labels(reason).inc()

    def request(self, service: str, status: int, seconds: float) -> None:
        """Count one call."""
        self._requests.count(service, str(status))
        self._seconds.observe(service, seconds)

    def findings(self, findings: Iterable[tuple[str, str, str]]) -> None:
        """Count findings (code, severity, subject)."""
        for code, severity, _ in findings:
            self._findings.count(code, severity)

    def not_understood(self, site: str, ledger: Ledger) -> None:
        """Count what was not understood of the data of one question."""
        for sums in (ledger.not_understood, ledger.elements):
            for kind, many in sums.items():
                self._not_understood.count(site, kind, many=many)

    def rule_fault(self, rule: str, fault: Exception) -> None:
        """Count a rule that failed."""
        self.rule_faults(rule, type(fault).__name__)

    def rule_faults(self, rule: str, exception: str) -> None:
        """Count a rule that failed, by the name of the exception."""
        self._faults.labels(rule, exception).inc()

    def foreign_server(self) -> None:
        """Count a FHIR server that was named and not asked."""
        self._foreign_servers.inc()

    def ended(self, why: str) -> None:
        """Count a process for large calls that ended: "work" (a call took more than its share), "late" or "fault"."""
        self._ended.labels(why).inc()

    def feedback(self, outcome: str, card: str) -> None:
        """Count one feedback item; ``card``: known, unknown, or foreign (shown to another site)."""
        self._feedback.labels(outcome, card).inc()

    def refused(self, reason: str) -> None:
        """Count one call refused with 401."""
        self._refused.labels(reason).inc()

    def registry_refused(self, status: int) -> None:
        """Count one request to the registry that was refused."""
        self._registry_refused.labels(str(status)).inc()

    def card(self, code: str, site: str, hook: str) -> None:
        """Count one card shown."""
        self._cards.count(code, site, hook)

    def card_answered(
        self, code: str, site: str, hook: str, outcome: str, reason: str, seconds: float | None
    ) -> None:
        """Count one answer. ``reason`` is one of the codes offered, ``other`` or empty: never a user's own words."""
        self._answers.labels(code, site, hook, outcome, reason).inc()
        if seconds is not None:
            self._response.labels(code, site).observe(seconds)

    def swept(self, patients: int, changes: Mapping[str, int]) -> None:
        """Count a sweep."""
        self._swept.inc(patients)
        for what, count in changes.items():
            self._alerts.labels(what).inc(count)

    def judged(self, outcomes: Mapping[str, int], seconds: Sequence[float]) -> None:
        """Count deliveries of results, and how long they took from acceptance to judgement."""
        for outcome, count in outcomes.items():
            self._arrived.labels(outcome).inc(count)
        for taken in seconds:
            self._arrival.observe(taken)

    def told(self, kind: str) -> None:
        """Count one notification of a Subscription."""
        self._told.labels(kind).inc()

    def subscription(self, site: str, found: str) -> None:
        """Count one look at a Subscription at its EHR."""
        self._subscriptions.labels(site, found).inc()

    def reread(self, outcomes: Mapping[str, int]) -> None:
        """Count readings from an EHR because something changed there."""
        for outcome, count in outcomes.items():
            self._reread.labels(outcome).inc(count)

    def delivered(self, outcomes: Mapping[str, int]) -> None:
        """Count notices that were sent, put off or given up."""
        for outcome, count in outcomes.items():
            self._outbox.labels(outcome).inc(count)

    def exposition(self, accept: str, siblings: Siblings | None = None) -> tuple[bytes, str]:
        """Body and content type: OpenMetrics where asked for, else the Prometheus text format; with siblings of all processes together."""
        encoder, content_type = choose_encoder(accept)
        registry = self.registry if siblings is None else siblings.all_metrics(self.registry)
        return encoder(registry), content_type
