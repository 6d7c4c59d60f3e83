"""``python -m tools.audit``: known vulnerabilities of the pinned packages, and one clear line when nobody could say.

Exit status: 0 none is known, 1 some are, or pip-audit failed, 3 nobody could be asked. With ``AUDIT=skip`` in the environment nobody is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Exit status where the question could not be put.
NOT_DONE = 3
_HINT = "AUDIT=skip passes it over"
_LOCK = Path("requirements/runtime.lock")
#: How pip-audit says that it could not ask.
_AWAY = (
    "connect",
    "timed out",
    "timeout",
    "max retries",
    "temporarily",
    "name resolution",
    "serviceerror",
    "proxy",
)


def verdict(status: int, output: str, errors: str) -> tuple[int, str]:
    """Exit status and what to print, from pip-audit's exit status, JSON and messages."""
    try:
        packages = json.loads(output)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        last = (errors.strip().splitlines() or ["it said nothing"])[-1][:200]
        if any(word in errors.lower() for word in _AWAY):
            return (
                NOT_DONE,
                f"audit: NOT DONE, the vulnerability service could not be reached ({last}); {_HINT}",
            )
        return 1, f"audit: pip-audit failed with status {status}: {last}"
    asked = [p for p in packages if "vulns" in p]
    unknown = [p["name"] for p in packages if "vulns" not in p]
    found = [f"audit: {p['name']} {p['version']}: {v['id']}" for p in asked for v in p["vulns"]]
    if found:
        return 1, "\n".join(found)
    if not asked:
        return (
            NOT_DONE,
            f"audit: NOT DONE, the vulnerability service knows none of the {len(packages)} packages; {_HINT}",
        )
    rest = f"; not known to the service: {', '.join(unknown)}" if unknown else ""
    return 0, f"audit: no known vulnerability in {len(asked)} packages{rest}"


def main(arguments: Sequence[str] = ()) -> int:
    """Audit the runtime lock; ``arguments`` go to pip-audit."""
    if os.environ.get("AUDIT") == "skip":
        print(
            "audit: SKIPPED, as AUDIT=skip asks: whether a pinned package has a known vulnerability was NOT looked up"
        )
        return 0
    command = [
        str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(_LOCK), "--disable-pip", "--require-hashes",
        "--format", "json", "--progress-spinner", "off", *arguments,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        print(f"audit: NOT DONE, the vulnerability service did not answer within 180 s; {_HINT}")
        return NOT_DONE
    status, says = verdict(done.returncode, done.stdout, done.stderr)
    print(says)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
