"""One of the processes of ``serve --workers N``, as ``service.web.workers`` starts it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

from service.ops.logging import configure
from service.ops.siblings import Siblings
from service.site.load import load_settings
from service.site.settings import SettingsError
from service.web.serving import serve
from service.web.workers import NEVER_STARTED


def _end_with(life: int) -> None:
    """Stop when the process that started this one is gone."""

    def wait() -> None:
        os.read(life, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="life", daemon=True).start()


def main() -> None:
    """One of them: ``python -m service.web.worker SOCKET LIFE NUMBER MANY FOLDER``."""
    handle, life, number, many = map(int, sys.argv[1:5])
    os.umask(0o077)
    _end_with(life)
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_style)
        serve(settings, socket.socket(fileno=handle), Siblings(Path(sys.argv[5]), number, many))
    except SettingsError as error:
        sys.stderr.write(f"clozapine-cds cannot start: {error}\n")
        sys.exit(NEVER_STARTED)


if __name__ == "__main__":
    main()
