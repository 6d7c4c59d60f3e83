"""What the documents name is there: paths, files, links."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The changelog tells of files as they were.
_PAGES = [
    p.relative_to(ROOT)
    for p in sorted(
        (
            *ROOT.glob("*.md"),
            *(ROOT / "docs").rglob("*.md"),
            *(ROOT / "tests").rglob("*.md"),
            *(ROOT / "examples").rglob("*.md"),
        )
    )
    if p.name != "CHANGELOG.md"
]
_FOLDERS = "service|cds_hooks|tests|docs|tools|bench|examples|requirements|openapi"
_PATH = re.compile(rf"(?<![\w./-])((?:{_FOLDERS})/[\w./*{{}},-]*)")
_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"[\w-][\w./-]*\.(?:py|toml|md|html|lock)")
#: Modules are named outside of quotation marks, too, in what is drawn.
_MODULE = re.compile(r"(?<![\w./-])[\w/]+\.py\b")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
#: Files that the reader makes, or that are named as an example of one.
_MADE = {"report.html", "ours.toml", "config.toml", "site.toml", "clozapine-cds.toml", "xx-trial.toml"}


@cache
def _files() -> tuple[str, ...]:
    """Paths of all files of the repository, each with a slash before it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return tuple(f"/{name}" for name in listed if (ROOT / name).is_file())


def _is_file(name: str) -> bool:
    """A file of this name, or with this end of its path, is in the repository."""
    return any(path.endswith(f"/{name}") for path in _files())


def _alternatives(path: str) -> Iterator[str]:
    """“a/{b,c}/d” stands for two paths."""
    match = re.search(r"\{([^}]*)\}", path)
    if match is None:
        yield path
        return
    for one in match[1].split(","):
        yield from _alternatives(path[: match.start()] + one + path[match.end() :])


def _exists(path: str) -> bool:
    path = path.rstrip(".,/")
    if Path(path).name in _MADE:
        return True
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_path_exists(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # Addresses of the service and of the web have folders with the same names.
    text = re.sub(r"https?://\S+", "", text)
    named = {one for path in _PATH.findall(text) for one in _alternatives(path)}
    assert sorted(path for path in named if not _exists(path)) == []


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_file_named_exists(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {
        word
        for code in _CODE.findall(text)
        for word in code.split()
        if _FILE.fullmatch(word) and Path(word).name not in _MADE
    }
    named |= set(_MODULE.findall(text))
    assert sorted(word for word in named if not _is_file(word)) == []


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(text) if not (ROOT / page.parent / link).exists()]
    assert missing == []
