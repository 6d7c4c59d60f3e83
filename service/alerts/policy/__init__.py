"""A protocol's numbers and texts: read, checked, compared and printed."""
