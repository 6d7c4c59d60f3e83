"""JSON Schema, without the grammars of formats: they take seconds to build, and no schema here is checked for formats."""

import sys

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
try:
    import jsonschema
finally:
    del sys.modules["rfc3987_syntax"]

validate = jsonschema.validate
