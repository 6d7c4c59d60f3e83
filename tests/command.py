"""``clozapine-cds`` in a process of its own, forked from one that has imported the libraries: only what had to be read is shared.

What a command says, its exit status, its environment and its folder are those of a program started anew. The start itself is tested where
``serve`` is (``tests/cli/test_cli.py``).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

ROOT = Path(__file__).parents[1]
#: A command that hangs ends the test; one on a slow machine does not.
_PATIENCE_SECONDS = 300
_FORKS = multiprocessing.get_context("forkserver")
# Nothing here may depend on the environment: the modules of the commands themselves ask for the width of the terminal when they are imported.
_FORKS.set_forkserver_preload(
    [
        "tests.command",
        "tests.warmed",
        "service.backtest.command",
        "service.registry.scheduler",
        "service.site.check",
        "service.synthetic.command",
        "service.web.app",
        "service.web.serving",
        "typer.rich_utils",
        "pytest.__main__",
    ]
)


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, out: Path, err: Path
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    for path, stream in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream)
    sys.argv = ["clozapine-cds", *arguments]
    from service.cli.main import main

    main()


def clean_environment() -> dict[str, str]:
    """The environment without settings of the service."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CLOZAPINE_CDS_")}


def command(*arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run ``clozapine-cds`` with these arguments to its end; ``env`` adds to an environment without settings of the service."""
    environment = clean_environment() | dict(env or {})
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _FORKS.Process(target=_become, args=(arguments, environment, cwd, out, err))
        process.start()
        process.join(_PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired(arguments, _PATIENCE_SECONDS)
        done = CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())
        process.close()
    return done
