# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the core, written down once and held against the imports, and against what the architecture's text says of them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULE_UTILS = PLUGINS / "module_utils"
CORE = MODULE_UTILS / "power"
ARCHITECTURE = PLUGINS.parent / "docs" / "architecture.md"

Family = tuple[str, ...]
#: From what everything rests on to the story. A file imports from its own family and from earlier layers.
LAYERS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    (
        "Words",
        (
            ("errors",),
            ("model",),
            ("schema",),
            ("text_faults",),
            ("causes",),
            ("liveness",),
            ("look",),
            ("nesting",),
            ("origin",),
            ("output",),
            ("own_files",),
            ("timezones",),
            ("wings",),
            ("host_ports",),
            ("listener",),
        ),
    ),
    (
        "Parts",
        (
            ("plan",),
            ("order",),
            ("stop_way", "kinds", "definition_keys", "definition", "definition_text", "definition_files", "settings_keys", "settings"),
            ("holder", "lock"),
            ("generation",),
            ("mark", "journal_rows", "journal_sqlite", "journal_file", "journal", "acceptance"),
            ("volume_survey", "volume_walk", "volume"),
            ("standard_input",),
            ("connection_faults", "connection"),
            ("web_wires", "web"),
            ("announce",),
            ("report",),
            ("described",),
            ("pace",),
            ("pattern_child",),
            ("at_once",),
        ),
    ),
    (
        "What is made of the parts",
        (
            ("state",),
            (
                *("config_files/fault", "config_files/regex", "config_files/rules", "config_files/paths", "config_files/splice"),
                *("config_files/tree", "config_files/json_read", "config_files/json_file"),
                *("config_files/yaml_read", "config_files/yaml_write", "config_files/yaml_file"),
                *("config_files/line", "config_files/properties_file", "config_files/ini_file"),
                *("config_files/toml_words", "config_files/toml_tree", "config_files/toml_edit", "config_files/toml_file"),
                *("config_files/xml_path", "config_files/xml_tree", "config_files/xml_edit", "config_files/xml_file"),
                *("config_files/__init__", "file_diff"),
            ),
            (
                *("container_resources", "container_network", "container_spec"),
                *(
                    "engine_use",
                    "engine",
                    "engine_answers",
                    "engine_clients",
                    "engine_events",
                    "engine_labels",
                    "engine_pull",
                    "docker_engine",
                ),
            ),
            ("ready_patterns", "readiness"),
            ("panel_api", "panel_list", "panel", "source", "search_faults", "sources"),
        ),
    ),
    ("The node", (("node", "progress", "settle", "once", "assemble"),)),
    ("Chapters", (("kill",), ("stop",), ("container", "placeholders", "config_edit", "preboot", "prepare"), ("startup", "await_ready"))),
    ("The story", (("turn", "perform"), ("selection", "bulk", "server_facts"))),
    (
        "Through an HTTP endpoint",
        (
            (
                *("endpoint/seen", "endpoint/client", "endpoint/follow", "endpoint/watch"),
                *("endpoint/facts", "endpoint/perform", "endpoint/call"),
            ),
        ),
    ),
    ("The call", (("call",),)),
)

#: The files that may import what neither Python nor the core brings along, always inside a function.
THIRD_PARTY = {
    "connection": {"docker", "requests", "urllib3"},
    "settings": {"yaml"},
    "definition_text": {"yaml"},
    "config_files/yaml_read": {"yaml"},
    "web": {"requests"},
    "web_wires": {"urllib3"},
}

#: What a file that calls itself pure never imports.
IMPURE = {"fcntl", "io", "os", "pathlib", "select", "shutil", "socket", "sqlite3", "subprocess", "syslog", "tempfile", "threading", "time"}
PURE = (
    *("text_faults", "causes", "nesting"),
    *("plan", "order", "stop_way", "definition", "holder", "state", "report", "volume_survey", "described"),
    *("config_files/rules", "config_files/paths", "config_files/splice", "config_files/tree"),
    *("config_files/json_read", "config_files/json_file", "config_files/yaml_read", "config_files/yaml_write", "config_files/yaml_file"),
    *("config_files/line", "config_files/properties_file", "config_files/ini_file", "placeholders", "file_diff"),
    *("config_files/toml_words", "config_files/toml_tree", "config_files/toml_edit", "config_files/toml_file"),
    *("config_files/xml_path", "config_files/xml_tree", "config_files/xml_edit", "config_files/xml_file"),
    *("container_resources", "container_network", "container_spec", "engine_answers", "engine_use"),
    *("endpoint/seen", "endpoint/follow"),
)


@dataclass(frozen=True)
class Import:
    """One import statement: what it names, and whether it stands inside a function or only serves a type checker."""

    names: str
    level: int
    lazy: bool

    @property
    def package(self) -> str:
        return self.names.split(".")[0]


def core_files() -> list[Path]:
    return sorted(path for path in CORE.rglob("*.py") if path.stat().st_size)


def name_of(path: Path) -> str:
    return path.relative_to(CORE).with_suffix("").as_posix()


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    lazily = {inner for node in ast.walk(tree) if _defers(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, 0, node in lazily)
        elif isinstance(node, ast.ImportFrom):
            named = [node.module] if node.module else [alias.name for alias in node.names]
            for name in named:
                yield Import(name, node.level, node in lazily)


def _defers(node: ast.AST) -> bool:
    checking = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return checking or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def core_imports(path: Path) -> set[str]:
    """The files of the core that one of them imports."""
    found = set()
    for each in imports(path):
        if each.level:
            base = path.parents[each.level - 1]
            target = base.joinpath(*each.names.split("."))
            inside = target.relative_to(CORE).as_posix()
            found.add(inside if target.with_suffix(".py").exists() else f"{inside}/__init__")
    return found


def names_in(families: tuple[Family, ...]) -> tuple[str, ...]:
    return tuple(name for family in families for name in family)


def reachable(name: str) -> set[str]:
    """What a file may import: its own family, and all earlier layers."""
    below: set[str] = set()
    for _title, families in LAYERS:
        for family in families:
            if name in family:
                return below | set(family)
        below.update(names_in(families))
    raise AssertionError(f"{name} has no layer")


def test_every_file_of_the_core_has_a_layer_and_every_name_is_a_file() -> None:
    named = [name for _title, families in LAYERS for name in names_in(families)]
    assert sorted(named) == sorted(name_of(path) for path in core_files())


@pytest.mark.parametrize("path", core_files(), ids=name_of)
def test_a_file_imports_from_its_own_family_and_earlier_layers_only(path: Path) -> None:
    assert core_imports(path) - reachable(name_of(path)) == set()


def test_no_imports_go_round_in_circles() -> None:
    left = {name_of(path): core_imports(path) for path in core_files()}
    while ready := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in ready}
    assert left == {}


@pytest.mark.parametrize("path", core_files(), ids=name_of)
def test_the_core_does_not_know_the_framework_of_its_front_doors(path: Path) -> None:
    assert not re.search("ansible", path.read_text(), re.IGNORECASE)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")
@pytest.mark.parametrize("path", core_files(), ids=name_of)
def test_third_party_libraries_are_imported_where_they_may_be_and_never_before_they_are_needed(path: Path) -> None:
    outside = [each for each in imports(path) if not each.level and each.package not in sys.stdlib_module_names]
    assert {each.package for each in outside} <= THIRD_PARTY.get(name_of(path), set())
    assert [each for each in outside if not each.lazy] == []


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_reads_no_clock_no_disk_and_no_network(name: str) -> None:
    path = CORE / f"{name}.py"
    assert {each.names for each in imports(path) if not each.level and each.package in IMPURE} == set()


def _calls(path: Path) -> set[str]:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    return names & {"exit_json", "fail_json"}


def test_one_file_alone_ends_a_module() -> None:
    assert [path.relative_to(PLUGINS).as_posix() for path in sorted(PLUGINS.rglob("*.py")) if _calls(path)] == ["module_utils/options.py"]


# ----- above the core

UTILS = "ansible_collections.fleet.power.plugins.module_utils"
FLEET = MODULE_UTILS / "fleet"
#: What stands beside the core: the front doors but for the plugins, and what they share.
BESIDE = {"options": {"own_session", "power"}, "restore": {"own_session", "power"}, "own_session": set()}
#: What of the core acts, or puts together what acts.
ACTING = {
    *names_in(
        tuple(family for title, families in LAYERS if title in ("The node", "Chapters", "The story", "The call") for family in families)
    ),
    *("endpoint/follow", "endpoint/watch", "endpoint/facts", "endpoint/perform", "endpoint/call"),
}


def fleet_files() -> list[Path]:
    return sorted(path for path in FLEET.rglob("*.py") if path.stat().st_size)


def module_utils_imports(path: Path) -> set[str]:
    """What a file below module_utils imports of it, from there, such as ``power/model``."""
    found = set()
    for each in imports(path):
        if each.level:
            found.add(path.parents[each.level - 1].joinpath(*each.names.split(".")).relative_to(MODULE_UTILS).as_posix())
        elif each.names.startswith(f"{UTILS}."):
            found.add(each.names[len(UTILS) + 1 :].replace(".", "/"))
    return found


def test_beside_the_core_stand_the_front_doors_that_are_named_here_and_the_fleet() -> None:
    assert {path.stem for path in MODULE_UTILS.glob("*.py") if path.stat().st_size} == set(BESIDE)
    folders = {path.name for path in MODULE_UTILS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {"power", "fleet", "http_shim"}


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_a_front_door_knows_the_core_and_what_it_shares_with_others(name: str) -> None:
    path = MODULE_UTILS / f"{name}.py"
    assert {each.split("/")[0] for each in module_utils_imports(path)} <= BESIDE[name]
    assert name == "options" or not any(each.package == "ansible" for each in imports(path))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")
@pytest.mark.parametrize("path", fleet_files(), ids=lambda path: path.relative_to(FLEET).as_posix())
def test_the_fleet_needs_python_and_what_of_the_core_acts_on_nothing(path: Path) -> None:
    outside = {each.package for each in imports(path) if not each.level}
    assert outside <= {*sys.stdlib_module_names, "ansible_collections"}
    ours = module_utils_imports(path)
    assert {each.split("/")[0] for each in ours} <= {"fleet", "power"}
    assert {each.removeprefix("power/") for each in ours if each.startswith("power/")} & ACTING == set()


def test_modules_know_only_their_front_door_and_other_plugins_only_the_fleet_and_the_words_of_the_core() -> None:
    for path in sorted(PLUGINS.rglob("*.py")):
        if path.is_relative_to(MODULE_UTILS):
            continue
        ours = {each.names for each in imports(path) if each.names.startswith(f"{UTILS}.")}
        if path.parent.name == "modules":
            assert ours <= {f"{UTILS}.options"}, path
        else:
            words = {f"{UTILS}.power.{word}" for word in names_in(LAYERS[0][1])}
            assert {name for name in ours if not name.startswith(f"{UTILS}.fleet.")} <= words, path


def test_the_architecture_names_every_file_in_its_layer_and_no_other() -> None:
    text = ARCHITECTURE.read_text().partition("## Layers")[2].partition("\n## ")[0]
    told = [
        (title, tuple(re.findall(r"^\| `([a-z_/]+)` \|", body, re.MULTILINE)))
        for title, body in re.findall(r"^### \d+\. (.+?)\n(.+?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    ]
    assert told == [(title, names_in(families)) for title, families in LAYERS]


def test_the_architecture_names_every_family_of_several() -> None:
    told = [
        tuple(re.findall(r"`([a-z_/]+)`", line))
        for line in re.findall(r"^- (`[a-z_/]+`(?:, `[a-z_/]+`)+)$", ARCHITECTURE.read_text(), re.MULTILINE)
    ]
    assert told == [family for _title, families in LAYERS for family in families if len(family) > 1]


def test_the_architecture_calls_those_files_pure_that_are() -> None:
    told = re.findall(r"^\| `([a-z_/]+)` \|.*; pure \|$", ARCHITECTURE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(PURE)
