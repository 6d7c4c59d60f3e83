"""What the help gives as an example runs on a fresh clone, as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.command import ROOT, command

#: The page is so wide that a command is on one line.
_EXAMPLE = re.compile(r"clozapine-cds ([^│]+?)(?:, then|\s{2,}|$)")


@pytest.mark.parametrize(
    "asked",
    [("check",), ("policy", "list"), ("policy", "show"), ("policy", "validate"), ("policy", "diff"), ("synthesize",), ("backtest",)],
)  # fmt: skip
def test_the_example_runs(asked: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("examples", "service"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = command(*asked, "--help", env={"COLUMNS": "400"}).stdout
    examples = _EXAMPLE.findall(page.partition("Example:")[2].replace("\n", "  "))
    assert len(examples) == (2 if asked == ("backtest",) else 1), page
    for example in examples:
        done = command(*shlex.split(example), cwd=tmp_path)
        assert done.returncode in ((0, 1, 2) if asked == ("check",) else (0,)), (example, done.stderr)
        assert "Traceback" not in done.stderr
