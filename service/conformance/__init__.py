"""What the service says of itself as a FHIR server: capabilities, the definition of its operation, code systems and value sets."""
