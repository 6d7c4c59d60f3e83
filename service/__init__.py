"""The clozapine safety service."""
