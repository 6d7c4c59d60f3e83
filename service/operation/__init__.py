"""``POST /fhir/$clozapine-check``: the same question for systems that speak FHIR but not CDS Hooks."""
