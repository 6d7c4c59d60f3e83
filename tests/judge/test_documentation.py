"""docs/python.md is executed as it stands."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def _session() -> str:
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))


def test_the_page_runs_and_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    session = doctest.DocTestParser().get_doctest(_session(), {}, "python.md", str(PAGE), 0)
    assert len(session.examples) >= 25
    doctest.DocTestRunner(verbose=False).run(session)
    assert capsys.readouterr().out == ""


def test_every_name_of_the_face_is_on_the_page() -> None:
    import service.judge

    page = PAGE.read_text()
    assert [name for name in service.judge.__all__ if f"`{name}`" not in page] == []
