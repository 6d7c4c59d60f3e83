"""Tools of the project's own housekeeping."""
