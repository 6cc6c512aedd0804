# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds bad English, by the rules in pyproject.toml: `prose.py` in all its paths, or `prose.py FILE...`."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import tomllib
import yaml
from proselint.checks import __register__ as general_checks
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

CHECKOUT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["prose"]
RULES = [(re.compile(pattern.replace(" ", r"\s")), instead) for pattern, instead in SETTINGS["banned"].items()]
NAME_RULE = re.compile(rf"(?:^|_)({SETTINGS['name_words']})(?=_|$)|^({SETTINGS['name_begins']})(?=_|$)")
ALLOWED = re.compile(r"prose-ok: \w+ \w+")  # with a reason, on this line or on the one before
SENTENCE = re.compile(r"[^\s|][^|]*?(?:(?<!e\.g)(?<!i\.e)[.!?][\"')*]*(?=\s)|(?=\|)|\Z)")
BULLET = re.compile(r"\s*(?:(?:[*#|-]|\d+\.)\s+)*")
NOT_MD = re.compile(r"(?m)<!--[\s\S]*?-->|^ *```[\s\S]*?^ *```$|(?<=\n\n)    (?! *[-*\d]).*\n(?:(?:    .*)?\n)*")
# Directives with their content, labels, options, and the lines below headings.
NOT_RST = re.compile(r"(?m)^( *)\.\.(?! (?:csv-table|warning)::).*\n(?:(?:\1 +\S.*)?\n)*|^ *:[\w-]+:(?: .*)?$|^ *\.\. \S+::|^[=~-]+$")
# All but comments; an indented comment is an item of a list.
NOT_SCRIPT = re.compile(r"(?m)^(?!#|//).*$|^#!.*$|^# shellcheck .*$|^(?:#|//)(?:   (?=\S)| ?)")
CELL_END = re.compile(r"(?m)(?<=[^ ])\", ?\"?|(?<=[^ ])\"$")  # of a table as CSV
# A link is replaced by its text; code and quotations by one sign.
MARKUP = re.compile(
    r"``[\s\S]+?``|(?::[\w.:+-]+:)?`([^`<]+?)\s*<[^`>]+>`_{0,2}|\[([^\]]+)\]\([^)\s]+\)|\b[LR]\(([^,)]+),[^)]*\)"
    r"|(?::[\w.:+-]+:)?`[^`]+`|\b(?:[BCEIMOPUV]|RV|SV)\([^)]*\)|https?://\S+|\"[^\"\n]{1,100}\""
)
Chunks = Iterator[tuple[int, str]]  # the number of the first line, and a text


def paragraphs(first: int, text: str) -> Chunks:
    """Paragraphs, items, cells and headings."""
    start, found = first, []
    for number, line in enumerate([*text.split("\n"), ""], first):
        bullet = BULLET.match(line)[0]
        if found and (not line.strip() or bullet.strip()):
            yield start, "\n".join(found)
            found = []
        if line.strip():
            start = start if found else number
            found.append(line[len(bullet) :])


def of_yaml(first: int, text: str, keys: list[str]) -> Chunks:
    """Comments, and the values of these keys; of all keys if none is given."""
    yield from paragraphs(first, re.sub(r"(?m)^(?! *#).*$|^ *#+ ?", "", text))
    nodes = [(document, False) for document in yaml.compose_all(text, Loader=yaml.CSafeLoader)]
    while nodes:
        node, wanted = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            nodes += [(value, not keys or key.value in keys) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(item, wanted) for item in node.value]
        elif node and wanted:
            part = text[node.start_mark.index : node.end_mark.index].lstrip("|>-+\"'").rstrip("\"'")
            yield from paragraphs(first + node.start_mark.line, part)


def test_names(text: str) -> Iterator[tuple[int, str]]:
    """Lines and names of tests, without `test_`."""
    for number, line in enumerate(text.split("\n"), 1):
        if found := re.match(r" *def test_(\w+)", line):
            yield number, found[1]


def of_python(text: str) -> Chunks:
    """Comments, docstrings, and the documentation of a plugin."""
    comments = [""] * text.count("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# (pylint|type|noqa|prose-ok|fmt):", token.string):
            comments[token.start[0] - 1] = re.sub("^[#: ]+", "" if token.line.lstrip().startswith("#") else "- ", token.string)
    yield from paragraphs(1, "\n".join(comments))
    # A test's name states a promise.
    yield from ((number, name.replace("_", " ").capitalize()) for number, name in test_names(text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            yield from paragraphs(node.body[0].lineno, node.body[0].value.value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in SETTINGS["documentation"]:
            yield from of_yaml(node.lineno, ast.literal_eval(node.value), SETTINGS["keys"])


def findings(path: Path, text: str) -> list[tuple[int, str]]:
    """Numbers of lines, each with what is wrong."""
    if path.suffix == ".py":
        chunks = of_python(text)
    elif path.suffix in ("", ".js"):
        chunks = paragraphs(1, NOT_SCRIPT.sub(lambda part: "- " * part[0].endswith("   "), text))
    elif path.suffix == ".yml":
        chunks = of_yaml(1, text, [] if "fragments" in path.parts else SETTINGS["keys"])
    else:
        plain = (NOT_RST if path.suffix == ".rst" else NOT_MD).sub(lambda code: "\n" * code[0].count("\n"), text)
        chunks = paragraphs(1, CELL_END.sub(".", plain))
    found, lines, prose = [], text.split("\n"), [""] * (text.count("\n") + 1)
    for first, marked in chunks:
        chunk = MARKUP.sub(lambda part: (part[1] or part[2] or part[3] or "¤").replace("\n", " ") + "\n" * part[0].count("\n"), marked)
        for number, line in enumerate(chunk.split("\n"), first - 1):
            prose[number] += f" {line}"
        for sentence in SENTENCE.finditer(chunk):
            start = first + chunk.count("\n", 0, sentence.start())
            if (words := len(re.findall(r"[A-Za-z][\w'-]*", sentence[0]))) > SETTINGS["words"]:
                found.append((start, f"a sentence of {words} words: write several"))
            for pattern, instead in RULES:
                for match in pattern.finditer(sentence[0]):
                    found.append((start + sentence[0].count("\n", 0, match.start()), f"{' '.join(match[0].split())[:60]!r}: {instead}"))
    for number, name in test_names(text) if path.suffix == ".py" else ():
        if len(name) > SETTINGS["name_length"]:
            found.append((number, f"a name of {len(name)} characters: state the promise in {SETTINGS['name_length']}"))
        if odd := NAME_RULE.search(name):
            found.append((number, f"{odd[0].strip('_')!r} in a test's name: subject, verb, object"))
    general = LintFile(path.name, "\n".join([*prose, ""])).lint({"max_errors": 1000, "checks": SETTINGS["general"]})
    found += [(result.pos[0], result.check_result.message) for result in general]
    allowed = {number + more for number, line in enumerate(lines, 1) if ALLOWED.search(line) for more in (0, 1)}
    return sorted((line, what) for line, what in found if line not in allowed)


def main(arguments: list[str]) -> int:
    CheckRegistry().register_many(general_checks)
    paths = [Path(argument).resolve() for argument in arguments] or [
        path for pattern in SETTINGS["paths"] for path in CHECKOUT.glob(pattern) if path.is_file()
    ]
    found = {path.relative_to(CHECKOUT): each for path in sorted(paths) if (each := findings(path, path.read_text()))}
    for path, each in found.items():
        for line, what in each:
            print(f"{path}:{line}: {what}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
