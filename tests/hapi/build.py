"""HAPI FHIR from Maven Central: what it needs, its build, the running server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent
TARGET = FOLDER / "target"
#: HAPI FHIR 8 needs it.
JAVA = 17
_BUILD_SECONDS = 900
#: Maven's words for an artifact that it could not get; anything else that goes wrong is a fault of the build.
_NOT_REACHED = re.compile(
    r"Could not transfer|Could not resolve|could not be resolved|Non-resolvable|Unknown host|Connection (?:refused|timed out)|"
    r"Cannot access|Could not find artifact|Failure to find"
)


class Unavailable(Exception):
    """HAPI FHIR cannot be had on this machine; the message says why, in half a sentence."""


class BuildFailed(Exception):
    """The Maven project is at fault; the message is Maven's."""


def needed() -> tuple[str, str]:
    """Paths of java and mvn. Raises Unavailable."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None:
        raise Unavailable("there is no java on the path")
    if maven is None:
        raise Unavailable("there is no mvn on the path")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', said.stderr + said.stdout)
    if version is None or int(version.group(1)) < JAVA:
        raise Unavailable(f"Java {JAVA} or newer is needed")
    return java, maven


def verdict(status: int, output: str) -> None:
    """What a run of Maven means. Raises Unavailable or BuildFailed."""
    if status == 0:
        return
    if "COMPILATION ERROR" not in output and _NOT_REACHED.search(output):
        raise Unavailable("Maven Central cannot be reached, or lacks what is needed")
    raise BuildFailed(output)


def build() -> None:
    """Compile the server and copy what it needs into ``target``. Raises Unavailable or BuildFailed."""
    _, maven = needed()
    command = [maven, "--batch-mode", "--quiet", "--update-snapshots", "--file", str(FOLDER), "compile"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven Central did not deliver within {_BUILD_SECONDS // 60} minutes") from None
    verdict(done.returncode, done.stdout + done.stderr)


@contextmanager
def running(token: str) -> Iterator[str]:
    """The server on a free port of loopback, empty; gives its FHIR base URL. Its log is ``target/hapi.log``."""
    java, _ = needed()
    classpath = os.pathsep.join((str(TARGET / "classes"), str(TARGET / "dependency" / "*")))
    # Started for a minute only: quick compilation and a plain collector are enough.
    command = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-cp", classpath]
    with (
        (TARGET / "hapi.log").open("wb") as log,
        subprocess.Popen(
            [*command, "hapi.HapiServer", "0"],
            stdin=subprocess.PIPE,  # the server ends when this does
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"HAPI_TOKEN": token},
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        try:
            ready = next((line for line in server.stdout if line.startswith("ready on port ")), None)
            if ready is None:
                raise RuntimeError(f"HAPI FHIR did not start; see {TARGET / 'hapi.log'}")
            yield f"http://127.0.0.1:{ready.split()[-1]}/fhir"
        finally:
            server.kill()
