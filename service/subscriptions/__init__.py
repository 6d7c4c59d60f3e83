"""FHIR Subscriptions: EHRs that tell this service of what changed."""
