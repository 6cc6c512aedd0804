# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the code in one place at a time, and check whether a unit test fails: `make mutants`. The places are in mutants.yml."""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT, Popen, TimeoutExpired

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = CHECKOUT / "plugins/module_utils"
PACKAGE = "ansible_collections.fleet.power"
#: test_mutants.py compares the list with the code, so it fails under each mutant.
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".build", ".nox", ".hypothesis", ".*_cache", "__pycache__", "test_mutants.py")
#: A longer run counts as an endless loop. On a busy machine the tests of an area get SLOWER times their usual time.
AREA_SECONDS, WHOLE_SECONDS, SLOWER = 120.0, 3600.0, 4
CAUGHT, SURVIVED, INVALID = "caught", "survived", "invalid"
#: Pytest's exit codes for "all passed" and "no test was chosen".
PASSED = (0, 5)
#: Python keeps bytecode by the second and the size of a module, so each write gets a second of its own.
WRITTEN_AT = itertools.count(int(time.time()))


@dataclass(frozen=True)
class Mutant:
    """One change of the code: ``before`` becomes ``after`` in the function, class or constant called ``where``."""

    area: str
    id: str
    where: str
    before: str
    after: str


#: The texts of all functions, classes and constants by their qualified names, each with its file and the offset in it.
Places = Mapping[str, Sequence[tuple[Path, int, str]]]


def read() -> tuple[dict[str, list[str]], list[Mutant]]:
    """Return the patterns of each area's test files, and all mutants."""
    areas = yaml.safe_load(Path(__file__).with_name("mutants.yml").read_text())
    mutants = [Mutant(area, name, *parts) for area, of in areas.items() for name, parts in of["mutants"].items()]
    return {area: of["tests"] for area, of in areas.items()}, mutants


def places() -> Places:
    """Return all places that a mutant can be in."""
    found: dict[str, list[tuple[Path, int, str]]] = {}
    for path in sorted(MODULES.rglob("*.py")):
        text = path.read_text()
        starts = [0, *itertools.accumulate(len(line) + 1 for line in text.split("\n"))]
        for name, node in _named(ast.parse(text)):
            begin, end = starts[node.lineno - 1], starts[node.end_lineno or node.lineno]
            found.setdefault(name, []).append((path.relative_to(CHECKOUT), begin, text[begin:end]))
    return found


def _named(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    for each in ast.iter_child_nodes(node):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + each.name, each
            yield from _named(each, f"{prefix}{each.name}.")
        elif isinstance(each, (ast.Assign, ast.AnnAssign)) and isinstance(node, ast.Module):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            yield from ((name.id, each) for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def find(mutant: Mutant, where: Places) -> tuple[Path, int]:
    """Return the file that a mutant changes, and the offset in it. Exits if there is not exactly one such place."""
    sought = re.compile(re.escape(mutant.before))
    found = [(path, begin + match.start()) for path, begin, text in where.get(mutant.where, ()) for match in sought.finditer(text)]
    if len(found) != 1:
        raise SystemExit(
            f"Cannot apply mutant {mutant.id} of {mutant.area}: {mutant.where} below plugins/module_utils has {mutant.before!r} "
            f"{len(found)} times, not once; change the mutant in tests/mutants/mutants.yml to follow the code"
        )
    return found[0]


class Tree:
    """A copy of the checkout that tries one mutant at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        shutil.copytree(CHECKOUT, root, symlinks=True, ignore=NOT_COPIED)
        build = root / ".build"
        (build / "ansible_collections/fleet").mkdir(parents=True)
        (build / "ansible_collections/fleet/power").symlink_to("../../..")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        own = {"PATH": path, "PYTHONPATH": str(build), "HYPOTHESIS_STORAGE_DIRECTORY": str(build / "hypothesis")}
        self._environment = {**os.environ, **own}

    def judge(self, mutant: Mutant, where: Places, patterns: Sequence[str], area_seconds: float) -> tuple[str, str]:
        """Try a mutant; return the result, and the test that caught it or the error that makes it invalid."""
        path, at = find(mutant, where)
        file = self._root / path
        text = file.read_text()
        try:
            self._write(file, text[:at] + mutant.after + text[at + len(mutant.before) :])
            code, output = self._run(["-c", f"import {'.'.join((PACKAGE, *path.with_suffix('').parts))}"], area_seconds)
            if code != 0:
                return INVALID, (output.strip().splitlines() or [""])[-1]
            code, output = self.test(patterns, area_seconds)
            if code in PASSED:
                code, output = self.test(["test_*.py"], WHOLE_SECONDS, "-n", "2")
            if code in PASSED:
                return SURVIVED, ""
            failed = re.search(r"^(?:FAILED|ERROR) (?:tests/unit/)?(.+?)(?: - .*)?$", output, re.MULTILINE)
            return CAUGHT, "by the time limit" if code is None else failed[1] if failed else output[-200:]
        finally:
            self._write(file, text)

    def test(self, patterns: Sequence[str], seconds: float, *options: str) -> tuple[int | None, str]:
        """Run the existing test files, in the order of their patterns, until one fails; return as `_run` does."""
        files = [path for pattern in patterns for path in sorted((self._root / "tests/unit").glob(pattern))]
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *options, *map(str, dict.fromkeys(files))]
        return self._run(command, seconds) if files else (0, "")

    def _run(self, arguments: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """Return the exit code of Python, or None after its time limit, and its output."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            command = [sys.executable, *arguments]
            process = Popen(command, cwd=self._root, env=self._environment, stdout=output, stderr=STDOUT, start_new_session=True)
            code: int | None = None
            try:
                code = process.wait(seconds)
            except TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            return code, output.read()

    @staticmethod
    def _write(file: Path, text: str) -> None:
        file.write_text(text)
        stamp = next(WRITTEN_AT)
        os.utime(file, (stamp, stamp))


def try_all(mutants: Sequence[Mutant], tests: Mapping[str, Sequence[str]], jobs: int) -> bool:
    """Try mutants, and print each result and the counts of each area; return True if all were caught."""
    where, own = places(), threading.local()
    for mutant in mutants:
        find(mutant, where)

    def make_tree() -> None:
        own.tree = Tree(Path(tempfile.mkdtemp(dir=folder), "power"))

    def limit(area: str) -> float:
        began = time.monotonic()
        code, output = own.tree.test(tests[area], WHOLE_SECONDS)
        if code not in PASSED:
            raise SystemExit(f"Cannot try mutants of {area}: its tests fail without a mutant\n{output[-2000:]}")
        return max(AREA_SECONDS, SLOWER * (time.monotonic() - began))

    counts = {mutant.area: Counter[str]() for mutant in mutants}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs, initializer=make_tree) as pool:
        try:
            limits = dict(zip(counts, pool.map(limit, counts)))
            results = pool.map(lambda each: own.tree.judge(each, where, tests[each.area], limits[each.area]), mutants)
            for mutant, (result, by) in zip(mutants, results):
                print(f"{mutant.area:<11} {mutant.id:<39} {result:<8} {by}", flush=True)
                counts[mutant.area][result] += 1
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    counts["all"] = sum(counts.values(), Counter())
    print(f"\n{'area':<11} {CAUGHT:>8} {SURVIVED:>8} {INVALID:>8}")
    for area, found in counts.items():
        print(f"{area:<11} {found[CAUGHT]:>8} {found[SURVIVED]:>8} {found[INVALID]:>8}")
    return set(counts["all"]) == {CAUGHT}


def main() -> bool:
    """Run the command; return True if all mutants were caught."""
    tests, mutants = read()
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--area", choices=tests, help="the mutants of one area alone")
    parser.add_argument("--only", metavar="ID", choices=[each.id for each in mutants], help="one mutant alone")
    parser.add_argument("--list", action="store_true", help="list the mutants, and try none")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    asked = parser.parse_args()
    chosen = [each for each in mutants if asked.area in (None, each.area) and asked.only in (None, each.id)]
    for each in chosen if asked.list else ():
        print(f"{each.area:<11} {each.id:<39} {each.where}: {each.before!r} becomes {each.after!r}")
    return asked.list or try_all(chosen, tests, max(asked.jobs, 1))


if __name__ == "__main__":
    sys.exit(not main())
