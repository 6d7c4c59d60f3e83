"""The template of the judging processes: ``python -m service.aside.template SOCKET``.

It reads the data once and then does nothing but split off processes, which are ready at once and share its memory. It has one thread.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
from contextlib import suppress

from service.alerts.knowledge.products import install
from service.aside.messages import BEGUN, NOTICE, Start
from service.aside.worker import work
from service.hooks.warm import warm
from service.ops import garbage
from service.ops.logging import configure

#: Judging gives way to answering where processors are few.
_NICENESS = 10


def _start(control: socket.socket) -> Start:
    with control.makefile("rb") as sent:
        length = int.from_bytes(sent.read(4), "big")
        start = pickle.loads(sent.read(length))  # noqa: S301 - from this program only
    assert isinstance(start, Start)
    return start


def _reap(control: socket.socket) -> None:
    """Tell of processes that ended."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            control.sendall(NOTICE.pack(pid, os.waitstatus_to_exitcode(status)))


def _begin(control: socket.socket, connection: int, start: Start) -> None:
    pid = os.fork()
    if pid == 0:
        control.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 1
        try:
            os.nice(_NICENESS)
            work(connection, start)
            code = 0
        finally:
            os._exit(code)
    os.close(connection)
    control.sendall(NOTICE.pack(pid, BEGUN))


def main() -> None:
    """Run until the service is gone; the service alone ends processes."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    start = _start(control)
    configure(start.log_level, start.log_style)
    install(start.products, start.release)
    warm()
    garbage.tune()
    ended, woken = socket.socketpair()
    ended.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control.sendall(NOTICE.pack(0, BEGUN))
    while True:
        ready, _, _ = select.select([control, ended], [], [])
        if ended in ready:
            ended.recv(4096)
            _reap(control)
        if control in ready:
            _, files, _, _ = socket.recv_fds(control, 1, 1)
            if not files:
                return  # the service is gone
            _begin(control, files[0], start)


if __name__ == "__main__":
    main()
