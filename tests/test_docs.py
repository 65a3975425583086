"""What the documentation quotes of the code is what the code says."""

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edge.sources import schemes
from tests.bridge.firmware import bundle

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text()


def quoted():
    """Pairs of a file that the page names and the code that it shows next."""
    for found in re.finditer(r"```python\n(.*?)```", PAGE, re.DOTALL):
        yield re.findall(r"`((?:export|tests)/[\w/]+\.py)`", PAGE[: found.start()])[-1], found[1]


@pytest.mark.parametrize(("file", "code"), list(quoted()), ids=lambda value: value if value.endswith(".py") else "")
def test_what_the_page_shows_of_a_file_is_in_it(file, code):
    assert code.strip() in (ROOT / file).read_text()


def test_what_the_page_says_an_emitter_has_is_there():
    from export.numerics.emitter import Emitter

    named = set(re.findall(r"`emit\.(\w+)`", PAGE))
    assert {"positive", "rescale", "expand"} <= named
    assert all(hasattr(Emitter, name) for name in named)


@pytest.mark.parametrize("scheme", schemes())
def test_the_page_on_sources_has_each_of_them_with_all_its_options(scheme):
    page = (ROOT / "docs" / "sources.md").read_text()
    specs = re.findall(rf"^\| `{scheme}:[^?`]*\??([^`]*)` \|", page, re.MULTILINE)
    assert specs, f"docs/sources.md does not have {scheme}:"
    options = import_module(f"edge.sources.{scheme}").Options
    assert {name for spec in specs for name in re.findall(r"(\w+)=", spec)} == {field.name for field in fields(options)}


def anchor(heading):
    """What GitHub calls a heading in links to it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path, _, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", page.read_text()):
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {path}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert heading in map(anchor, headings), f"{page.name} links to {path}#{heading}"


def test_the_virtual_board_of_the_page_on_firmware_answers(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "firmware.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    bundle().save("beats.why")
    np.savez("test.npz", x=np.eye(4, dtype=np.float32)[:3] * 9)
    exec(compile(code, "docs/firmware.md", "exec"), {})
    assert capsys.readouterr().out == "window 0: one\nwindow 1: two\nwindow 2: three\n"
