"""What is known of drugs, tests, conditions and codes, with the data beside it."""
