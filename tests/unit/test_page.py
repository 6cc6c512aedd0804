# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a rolling run: hostile texts stay texts, and the page is small and fits its window."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.page.page import page
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import one_line
from ansible_collections.fleet.power.tests.unit.page_support import LOG, over, page_of, record

pytest.importorskip("jinja2")

_VOID = {"meta", "br", "rect"}
_HOSTILE = (
    *("<script>alert(1)</script>", "</title><script>x</script>", "</style>", "<!--", "-->", "]]>", "&lt;", "&amp;amp;", "&#60;b&#62;"),
    *('"><img src=x onerror=alert(1)>', "' onload='x", "{{ 7 * 7 }}", "{% raw %}", "javascript:x", "<svg/onload=x>", "</pre>", "\\u003c"),
    *("\u202egnp.exe", "\x00", "\x1b[2J", "\r\n", "\u2028", "`", "=cmd|' /C calc'!A0", "\ud800", "﷐", "<", "&", '"', "'", "</svg><b>"),
)


class Page(HTMLParser):
    """A page, parsed: its elements, attributes, texts, and elements that stay open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.faults.append(f"an attribute twice in {tag}")
        if tag not in _VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def hostile(chance: random.Random) -> str:
    """Random text that tries to become markup."""
    letters = [
        "".join(chr(chance.choice((chance.randrange(32, 127), chance.randrange(0x20, 0x3000)))) for _unused in range(chance.randrange(4)))
    ]
    return "".join(chance.choice((*_HOSTILE, *letters)) for _unused in range(chance.randrange(1, 5)))


class TestMarkup:
    def test_the_page_is_well_formed_and_loads_no_resource(self) -> None:
        found = Page(page_of(record()))
        assert (found.faults, found.open) == ([], [])
        tags = {tag for tag, _attributes in found.elements}
        assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form", "a", "base", "audio", "video"}
        names = {name for _tag, attributes in found.elements for name in attributes}
        assert not names & {"style", "src", "href", "onload", "srcdoc", "action"}

    def test_the_policy_allows_only_the_style_sheet_of_the_page(self) -> None:
        text = page_of(record())
        policy = next(str(each.get("content")) for tag, each in Page(text).elements if each.get("http-equiv") == "Content-Security-Policy")
        style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        assert len(style) == 1
        digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        assert "url(" not in style[0] and "@import" not in style[0]

    @pytest.mark.parametrize("many", [1000, pytest.param(10_000, marks=pytest.mark.long)])
    def test_hostile_texts_are_read_back_as_text(self, many: int) -> None:
        chance, texts, shape = random.Random(16), 0, None
        while texts < many:
            made = record(5, 5, failed=25, for_players=False)
            for each in made.rows:
                each.name, each.msg, each.code, each.log = hostile(chance), hostile(chance), hostile(chance), [hostile(chance)]
            made.reason, made.by, made.stopped, made.action, going_on = (hostile(chance) for _unused in range(5))
            found = Page(page(made, replace(over(made), going_on=[going_on, going_on])))
            assert (found.faults, found.open) == ([], [])
            elements = {(tag, *sorted(attributes)) for tag, attributes in found.elements}
            shape = shape or elements
            assert elements == shape, "a text became an element or an attribute"
            for each in made.rows:
                for text, longest in ((each.name, 60), (each.code, 60), (each.msg, 500), (str(each.log[0]), 200)):
                    assert re.sub(r"\s+", " ", one_line(text, longest)).strip() in found.text
                    texts += 1


class TestFailures:
    def test_a_failure_shows_its_code_its_reason_and_the_end_of_its_log(self) -> None:
        made = record()
        text = Page(page_of(made)).text
        for each in (each for each in made.rows if each.outcome == "failed"):
            assert f"failed start_failed {each.msg}" in text
        assert text.count(" ".join(LOG)) == 2


class TestSize:
    @pytest.mark.parametrize("failed", [100, 5000])
    def test_a_page_of_five_thousand_servers_is_small_and_fast(self, failed: int) -> None:
        made = record(100, 50, failed=failed, nodes_of_batch=10, for_players=failed < 5000)
        began = time.process_time()
        text = page_of(made)
        # The limit is ten times the expected time. The report is rewritten every five seconds.
        assert time.process_time() - began < 2.5
        assert len(text.encode()) < 3_000_000
        found = Page(text)
        assert (found.faults, found.open) == ([], [])
        assert found.text.count(" start_failed ") == failed


#: Writes the excess width into the title. The page itself allows no script.
_MEASURE = "<script>const page = document.documentElement; document.title = page.scrollWidth - page.clientWidth</script>"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def long_words() -> Record:
    """A rolling run with the longest names, which have no place for a line break."""
    made = record(3, 4)
    for each in made.rows:
        each.name, each.node, each.msg, each.code = "N" * 200, "n" * 200, "m" * 600, "c" * 200
        each.log = ["l" * 900]
    made.reason, made.by, made.stopped = "r" * 900, "b" * 900, "s" * 900
    return made


@pytest.mark.long
@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("made", [record, long_words], ids=["usual", "long words"])
def test_the_page_fits_its_window(tmp_path: Path, made: object, width: int) -> None:
    subprocess.run([Path(__file__).parents[1] / "lab" / "needs", "browser"], check=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert callable(made) and program is not None
    text, allowed = _POLICY.subn("", page_of(made()))
    assert allowed == 1
    file = tmp_path / "run.html"
    file.write_text(text + _MEASURE)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}"]
    shown = subprocess.run(
        [program, *options, f"--window-size={width},900", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "<title>0</title>" in shown.stdout
