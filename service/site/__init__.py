"""A site: its settings, its EHRs, whom it trusts."""
