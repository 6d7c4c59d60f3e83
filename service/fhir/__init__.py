"""FHIR R4 in and out: resources to facts, offers to resources, the client. Knows no CDS Hooks."""
