"""``make test-hapi``: the hook flow against a real FHIR server, or one line that says why not."""

from __future__ import annotations

import sys

import pytest

from tests.hapi.build import FOLDER, TARGET, BuildFailed, Unavailable, build


def main() -> int:
    """Exit status: 0 when the flow is sound, or cannot be tried here."""
    if sys.stderr.isatty() and not (TARGET / "dependency").exists():
        print("test-hapi: getting HAPI FHIR from Maven Central, about 280 MB the first time", file=sys.stderr)
    try:
        build()
    except Unavailable as why:
        print(f"test-hapi skipped: {why}.")
        return 0
    except BuildFailed as why:
        print(why, file=sys.stderr)
        print("test-hapi: the server in tests/hapi does not build.", file=sys.stderr)
        return 1
    return int(pytest.main(["-q", "-m", "hapi", str(FOLDER)]))


if __name__ == "__main__":
    sys.exit(main())
