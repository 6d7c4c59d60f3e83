"""Running the rules over a FHIR Bulk Data export: what a committee asks for before go-live."""
