"""Drug codes that a site imports."""
