"""``python -m tests.backtest.peak EXPORT WARM``: bytes that a backtest holds at most, in a process where nothing else runs."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path

from service.backtest import partition as partition_module
from tests.backtest.export import run

#: The buffers of open files are bounded too, but by more than the small exports of tests weigh.
partition_module._BUFFER = 512


def peak(export: Path, warm: Path, partition_bytes: int) -> int:
    """Peak of one run, after another one has loaded what is loaded once."""
    run(warm)
    gc.collect()
    tracemalloc.start()
    run(export, partition_bytes=partition_bytes)
    return tracemalloc.get_traced_memory()[1]


if __name__ == "__main__":
    print(peak(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
