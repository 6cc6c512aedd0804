# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation agrees with the code: tests compare its tables, examples and links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.options import wanted_of
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import FIXED
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_limits import LIMIT_KEYS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import settings_keys
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_text import load_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import BUILT_IN, PROTOCOLS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.receiver_keys import read_receiver_rules
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import field_of
from ansible_collections.fleet.power.plugins.module_utils._power.model import errors
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PowerError
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import argument_spec
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import POWER_ACTIONS, PowerAction, WaitFor
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, PlanStep
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import read_keys
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Startup
from ansible_collections.fleet.power.plugins.module_utils._power.options import INFO_OPTIONS, POWER_OPTIONS
from ansible_collections.fleet.power.plugins.modules import server_power
from ansible_collections.fleet.power.tests.unit.docs_support import (
    CHECKOUT,
    GUIDES,
    MADE,
    PAGES,
    Example,
    all_codes,
    csv_tables,
    examples,
    literals,
    table_text,
)

README = CHECKOUT / "README.md"
CODES = GUIDES / "codes_guide.rst"
ACTIONS = GUIDES / "actions_guide.rst"
OUR_MODULES = ("fleet.power.server_power", "fleet.power.server_power_info")


class Loader(yaml.SafeLoader):
    """YAML as a playbook may have it, with ``!unsafe`` strings."""


def _unsafe(loader: Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


Loader.add_constructor("!unsafe", _unsafe)


def yaml_examples() -> list[Example]:
    return [example for page in PAGES for example in examples(page) if example.language in ("yaml", "yaml+jinja")]


def tasks_in(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from tasks_in(item)
    elif isinstance(value, dict):
        if any(name in value for name in OUR_MODULES):
            yield value
        for section in ("tasks", "block", "rescue", "always"):
            yield from tasks_in(value.get(section))


def test_the_guide_explains_exactly_the_existing_codes_in_order() -> None:
    codes = [literals(row[0])[0] for row in csv_tables(CODES)["Codes"]]
    assert codes == sorted(all_codes())


def test_the_guide_gives_each_code_the_outcome_of_its_error() -> None:
    usual = {error.code: _usual_outcome(error) for error in PowerError.__subclasses__()}
    usual |= {errors.INTERRUPTED: "failed", errors.EXPIRED: "failed", errors.UNGUARDED: "done", errors.NOT_DURABLE: "done"}
    usual |= {errors.INTERNAL_ERROR: "failed"}
    assert {literals(row[0])[0]: literals(row[1])[0] for row in csv_tables(CODES)["Codes"]} == usual


def _usual_outcome(error: type[PowerError]) -> str:
    if error.skips:
        return "skipped"
    if error.cancels:
        return "cancelled"
    return "failed" if error.always_failed else "refused"


def test_the_guide_lists_every_built_in_profile_and_every_protocol() -> None:
    guide = GUIDES / "players_guide.rst"
    assert [literals(row[0])[0] for row in csv_tables(guide)["Profiles that are built in"]] == list(BUILT_IN)
    assert [protocol for protocol in PROTOCOLS if f"``{protocol}``" not in guide.read_text().partition("``query`` is one of")[2]] == []


def test_the_guide_lists_every_limit_that_a_running_server_can_get() -> None:
    listed = {key for row in csv_tables(ACTIONS)["What can be changed while a server runs"] for key in literals(row[0])}
    assert set(LIMIT_KEYS) <= listed


def test_the_guide_names_every_state_phase_step_startup_and_wait() -> None:
    text = ACTIONS.read_text()
    for kind in (PowerState, Phase, PlanStep, Startup, WaitFor):
        assert [each.value for each in kind if f"``{each.value}``" not in text] == []


def test_the_module_offers_the_choices_of_the_code_and_explains_each_action() -> None:
    options = yaml.safe_load(server_power.DOCUMENTATION)["options"]
    declared = {name: list(option.choices) for name, option in POWER_OPTIONS.items() if option.choices and name in options}
    assert {name: options[name]["choices"] for name in declared} == declared
    text = " ".join(options["action"]["description"])
    assert [action.value for action in POWER_ACTIONS if f"V({action.value}) " not in text] == []


def test_the_maintenance_role_knows_the_effect_of_each_action() -> None:
    known = yaml.safe_load((CHECKOUT / "roles" / "maintenance" / "vars" / "main.yml").read_text())
    assert known["__maintenance_raise"] == [action.value for action in PowerAction if action.traits.should_be_up]
    assert known["__maintenance_lower"] == [action.value for action in PowerAction if action.traits.should_be_up is False]


@pytest.mark.parametrize("guide, title, heading, widths, rows", MADE, ids=[made[1] for made in MADE])
def test_a_generated_table_matches_the_code(guide: str, title: str, heading: list[str], widths: str, rows: list[list[str]]) -> None:
    table = table_text(title, heading, widths, rows)
    assert table in (GUIDES / guide).read_text(), "generate it: run docs_support as a module, see CONTRIBUTING.md"


def test_the_guide_names_the_settings_that_need_a_restart_of_the_shim() -> None:
    (sentence,) = re.findall(r"These settings\s+need a restart: .+?\.\n", (GUIDES / "http_guide.rst").read_text(), re.DOTALL)
    assert literals(sentence) == [key.name for key in settings_keys.KEYS if key.used and field_of(key) in FIXED]


@pytest.mark.parametrize("example", yaml_examples(), ids=str)
def test_an_example_is_valid_yaml_of_a_known_kind(example: Example) -> None:
    document = yaml.load(example.text, Loader)
    if isinstance(document, list):
        # A rulebook has rules. `test_event_forms` and `test_event_source` check more of it.
        assert all(play["name"] and play["hosts"] and (play.get("tasks") or play.get("rules") or play["roles"]) for play in document)
    elif "uuid" in document.get("settings", {}):
        definition = parse_definition(load_text(example.text.encode(), str(example), yaml=True), where=str(example))
        assert (definition.warnings, definition.server.name != "") == ((), True)
    elif document.get("plugin") == "fleet.power.servers":
        assert wanted_of({"timeout": 10, "snapshot_max_age": 0, "panel_api_key": "from the environment", **document}, str)
    elif {"node_event_receivers", "rollout_receivers"} & document.keys():
        # Variables of a role.
        ((variable, receivers),) = document.items()
        given = [{key: re.sub("^~", "/root", value) if "file" in key else value for key, value in each.items()} for each in receivers]
        assert read_receiver_rules(given, variable)
    elif "nodes" in document:
        assert document.keys() == {"nodes"} and {"hosts"} <= document["nodes"].keys() <= {"hosts", "vars"}
    else:
        assert read_keys(document, settings_keys.KEYS).unknown == ()


def faults_of(task: Mapping[str, Any]) -> list[str]:
    """Errors of a task by the module's argument spec. Templated options are skipped."""
    validator = pytest.importorskip("ansible.module_utils.common.arg_spec").ArgumentSpecValidator
    specs = dict(zip(OUR_MODULES, (argument_spec(POWER_OPTIONS), argument_spec(INFO_OPTIONS))))
    name = next(name for name in OUR_MODULES if name in task)
    given = {option: value for option, value in (task[name] or {}).items() if "{{" not in str(value)}
    faults: list[str] = validator(specs[name]).validate({"action": "start", **given} if "action" in specs[name] else given).error_messages
    return faults + [option for option in task[name] or {} if option not in specs[name]]


@pytest.mark.parametrize("example", yaml_examples(), ids=str)
def test_the_modules_accept_the_tasks_of_an_example(example: Example) -> None:
    assert [faults_of(task) for task in tasks_in(yaml.load(example.text, Loader))] == [[]] * example.text.count("fleet.power.server_power")


def _links(page: Path) -> Iterator[str]:
    text = page.read_text()
    if page.suffix == ".md":
        yield from re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)


@pytest.mark.parametrize("page", [*PAGES, *sorted(CHECKOUT.glob("roles/*/README.md"))], ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    relative = [link for link in _links(page) if "://" not in link]
    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_every_link_of_the_readme_to_the_repository_leads_to_a_file() -> None:
    repository = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["repository"]
    text = README.read_text()
    linked = re.findall(rf"^\[[^]]+\]: {re.escape(repository)}/blob/main/([^#\n]+)", text, re.MULTILINE)
    assert len(linked) > 15
    assert [path for path in linked if not (CHECKOUT / path).exists()] == []
    used = {name for _text, name in re.findall(r"\[([^]]+)\]\[([^]]+)\]", text)}
    assert used == set(re.findall(r"^\[([^]]+)\]: ", text, re.MULTILINE))
    # Galaxy shows the page without the repository.
    assert [link for link in _links(README) if "://" not in link and link] == []


def test_every_reference_between_the_guides_has_its_label() -> None:
    texts = [page.read_text() for page in GUIDES.glob("*.rst")]
    labels = {label for text in texts for label in re.findall(r"^\.\. _(\S+):$", text, re.MULTILINE)}
    references = {target for text in texts for target in re.findall(r":ref:`(?:[^<`]*<)?([^>`]+?)>?`", text)}
    assert references - labels == set()


def _decided_in() -> Iterator[tuple[str, list[Path]]]:
    """Each name of the architecture's table "Where things are decided", with the files of its row."""
    table = (CHECKOUT / "docs/architecture.md").read_text().partition("## Where things are decided")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| [^|]+ \| (`.+) \|$", table, re.MULTILINE):
        words = re.findall(r"`([^`]+)`", row)
        files: list[Path] = []
        for word in words:
            if word.endswith(".py"):
                root = (
                    "plugins"
                    if word.startswith("plugin_utils")
                    else "plugins/module_utils"
                    if word.startswith("_")
                    else "plugins/module_utils/_power"
                )
                place = CHECKOUT / root / word
                files.append(place if place.exists() or not files else files[-1].parent / word)
        yield from ((word, files) for word in words if not word.endswith(".py"))


def test_the_architecture_names_the_place_of_each_decision() -> None:
    rows = list(_decided_in())
    assert len(rows) > 15
    gone = [str(file) for _name, files in rows for file in files if not file.exists()]
    moved = [name for name, files in rows if not any(re.search(rf"\b{name}\b", file.read_text()) for file in files if file.exists())]
    assert (gone, moved) == ([], [])
