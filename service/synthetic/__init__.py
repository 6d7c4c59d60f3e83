"""A clinic of invented patients on clozapine: stories as data, written as FHIR R4 the way different EHRs write it."""
