"""``clozapine-cds registry``: who is watched, alerts, sweeps by hand, import and export."""
