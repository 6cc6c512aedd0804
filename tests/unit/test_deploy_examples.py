# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands around a fleet: the examples for a deploy pipeline, the execution environment, Ansible's settings, the packed collection."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, csv_tables, examples, literals

yaml = pytest.importorskip("yaml")
requirements = pytest.importorskip("packaging.requirements")

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "docs" / "deploy"
SCRIPT = DEPLOY / "deploy.sh"
GITHUB, GITLAB = DEPLOY / "github-actions.yml", DEPLOY / "gitlab-ci.yml"


def load(path: Path) -> Any:
    """A YAML document, its `on` still a word."""
    return yaml.load(path.read_text(), yaml.BaseLoader)


def tool(name: str) -> str:
    """The path of a command of the virtual environment that these tests run in."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else pytest.skip(f"{name} is not installed")


# ----- the script, with a stand-in for Ansible

STAND_IN = """#!/bin/sh
for word in ansible-playbook "$@"; do printf '%s\\0' "$word"; done | tr '\\n' ' ' >> "$STAND_IN/calls"
printf '\\n' >> "$STAND_IN/calls"
if [ "$3" = fleet.power.rolling_restart ] && [ -e "$STAND_IN/result" ]; then cp "$STAND_IN/result" "$DEPLOY_RESULT"; fi
exit "$(cat "$STAND_IN/$3.rc" 2>/dev/null || echo 0)"
"""


@dataclass(frozen=True)
class Deploy:
    """A directory like a repository's, in which deploy.sh meets a stand-in for Ansible."""

    place: Path

    @property
    def result(self) -> Path:
        return self.place / "result.json"

    @property
    def resume(self) -> Path:
        return self.place / "resume.json"

    def will(self, *, validate: int = 0, update: int = 0, restart: int = 0, result: Mapping[str, Any] | None = None) -> None:
        """Say how the next calls end."""
        (self.place / "fleet.power.validate.rc").write_text(str(validate))
        (self.place / "fleet.power.node.rc").write_text(str(update))
        (self.place / "fleet.power.rolling_restart.rc").write_text(str(restart))
        if result is not None:
            (self.place / "result").write_text(json.dumps(result))

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.place}:{os.environ['PATH']}",
            "STAND_IN": str(self.place),
            "DEPLOY_RESULT": str(self.result),
            "DEPLOY_RESUME": str(self.resume),
            **variables,
        }
        return subprocess.run(
            [str(SCRIPT), *arguments], cwd=self.place, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    def calls(self) -> list[list[str]]:
        """The commands that were called, word by word."""
        path = self.place / "calls"
        return [line.split("\0")[:-1] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    stand_in = tmp_path / "ansible-playbook"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return Deploy(tmp_path)


def given(deploy: Deploy) -> dict[str, Any]:
    """The variables that the script gave to the restart."""
    restart = deploy.calls()[2]
    variables: dict[str, Any] = json.loads(restart[restart.index("--extra-vars") + 1])
    return variables


def result(*servers: Mapping[str, Any], ok: bool = True) -> dict[str, Any]:
    """A result as the role writes it, as far as the script looks at it."""
    return {"schema": 1, "ok": ok, "msg": f"restart of {len(servers)}: so it went", "servers": list(servers)}


def test_a_deploy_checks_then_updates_the_nodes_and_then_restarts(deploy: Deploy) -> None:
    deploy.will(result=result({"node": "node1", "name": "Echo", "outcome": "done"}))
    ran = deploy.run("--limit", "node 1", DEPLOY_INVENTORY="in ventory.yml")
    assert (ran.returncode, ran.stdout) == (0, "deploy: restart of 1: so it went\n")
    validate, update, restart = deploy.calls()
    called = ["ansible-playbook", "--inventory", "in ventory.yml"]
    assert validate == [*called, "fleet.power.validate", "--limit", "node 1"]
    assert update == [*called, "fleet.power.node", "--tags", "node_definitions", "--limit", "node 1"]
    assert [*restart[:5], *restart[6:]] == [*called, "fleet.power.rolling_restart", "--extra-vars", "--limit", "node 1"]


def test_of_two_values_of_a_variable_ansible_takes_the_callers(deploy: Deploy) -> None:
    deploy.will(result=result())
    deploy.run("-e", "rollout_canary=3")
    *_unused, restart = deploy.calls()
    # The last one on the command line counts.
    assert restart.index("--extra-vars") < restart.index("-e")


@pytest.mark.parametrize("code", [1, 2, 4, 99])
def test_the_exit_code_of_the_restart_is_passed_on_and_what_failed_is_named(deploy: Deploy, code: int) -> None:
    bad = {"node": "node1", "name": "Echo", "outcome": "failed", "code": "start_failed"}
    deploy.will(restart=code, result=result(bad, {"node": "node1", "name": "Fox", "outcome": "not_done"}, ok=False))
    deploy.resume.write_text("{}")
    ran = deploy.run("--resume")
    assert ran.returncode == code
    assert "deploy: node1 Echo failed start_failed\n" in ran.stdout
    assert "Fox" not in ran.stdout
    assert f"{deploy.resume}; once it is clear why, '{SCRIPT} --resume' does it, in place of rollout_resume as above" in ran.stdout


def test_nothing_is_restarted_where_a_node_could_not_be_updated(deploy: Deploy) -> None:
    deploy.will(update=4)
    deploy.resume.write_text("{}")
    assert deploy.run().returncode == 4
    assert [call[3] for call in deploy.calls()] == ["fleet.power.validate", "fleet.power.node"]
    assert deploy.resume.exists()


def test_nothing_is_brought_to_a_node_where_a_definition_has_a_fault(deploy: Deploy) -> None:
    deploy.will(validate=2)
    assert deploy.run().returncode == 2
    assert [call[3] for call in deploy.calls()] == ["fleet.power.validate"]


@pytest.mark.parametrize("left", ["", "{", json.dumps({"msg": "it went wrong", "servers": [], "ok": False})])
def test_no_good_result_is_never_a_good_deploy(deploy: Deploy, left: str) -> None:
    if left:
        (deploy.place / "result").write_text(left)
    assert deploy.run().returncode == 1


def test_an_old_result_is_not_taken_for_the_new_one(deploy: Deploy) -> None:
    deploy.result.write_text(json.dumps(result()))
    assert deploy.run().returncode == 1


def test_a_new_deploy_does_not_go_on_with_an_old_one(deploy: Deploy) -> None:
    deploy.will(result=result())
    deploy.resume.write_text("{}")
    assert deploy.run().returncode == 0
    assert not deploy.resume.exists()


@pytest.mark.parametrize("word", ["--check", "-C"])
def test_a_check_leaves_the_files_of_the_last_deploy_alone_and_asks_for_no_result(deploy: Deploy, word: str) -> None:
    deploy.result.write_text("of the last")
    deploy.resume.write_text("of the last")
    assert [deploy.run(word).returncode, deploy.run("--resume", word).returncode] == [0, 0]
    assert [deploy.result.read_text(), deploy.resume.read_text()] == ["of the last"] * 2
    deploy.will(restart=2)
    assert deploy.run(word).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        *(["--ch"], ["--chec"], ["-vC"], ["-DC"], ["-CvlX"], ["-bkKJDvvC"], ["-l", "a", "-C"]),
        *([], ["-lC"], ["-vlC"], ["-e", "C=--check"], ["-e", '{"rollout_reason": "seen with --check first"}'], ["-e", "--check first"]),
        *(["-c", "ssh"], ["--connection", "ssh"], ["--limit", "a-C"], ["--limit=-C"], ["--syntax-check"], ["--", "-C"], ["-t", "check"]),
    ],
    ids=" ".join,
)
def test_the_script_takes_for_a_check_what_ansible_takes_for_one(deploy: Deploy, words: list[str]) -> None:
    playbook = pytest.importorskip("ansible.cli.playbook")
    cli = playbook.PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    is_check = cli.parser.parse_args(["fleet.power.validate", *words]).check
    deploy.will(result=result())
    deploy.resume.write_text("of the last")
    assert deploy.run(*words).returncode == 0
    assert deploy.resume.exists() is is_check


def test_resuming_needs_a_file_and_says_so_before_anything_is_done(deploy: Deploy) -> None:
    ran = deploy.run("--resume")
    assert (ran.returncode, deploy.calls()) == (2, [])
    assert ran.stderr.startswith(f"Cannot resume: there is no {deploy.resume};")


def test_an_empty_file_says_that_nothing_was_left(deploy: Deploy) -> None:
    deploy.resume.touch()
    ran = deploy.run("--resume")
    assert (ran.returncode, deploy.calls()) == (2, [])
    deploy.will(result=result())
    ran = deploy.run("--check")
    assert "--resume" not in ran.stdout


@pytest.mark.parametrize(("variables", "wanted"), [({}, "true"), ({"DEPLOY_OUTDATED": "false"}, "false")])
def test_by_hand_a_deploy_restarts_what_it_changes_unless_it_is_told_to_restart_all(
    deploy: Deploy, variables: dict[str, str], wanted: str
) -> None:
    script = deploy.place / "ansible-playbook"
    script.write_text(STAND_IN.replace("exit ", 'printf %s "$DEPLOY_OUTDATED" > "$STAND_IN/outdated"\nexit '))
    deploy.will(result=result())
    assert deploy.run(**variables).returncode == 0
    assert (deploy.place / "outdated").read_text() == wanted
    assert given(deploy)["rollout_outdated"] == "{{ lookup('ansible.builtin.env', 'DEPLOY_OUTDATED') }}"


def test_every_variable_that_the_script_gives_is_one_of_the_role(deploy: Deploy) -> None:
    deploy.will(result=result())
    deploy.run()
    variables = given(deploy)
    specs = load(CHECKOUT / "roles" / "rollout" / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert set(variables) - set(specs) == set()
    assert {name: value for name, value in variables.items() if "choices" in specs[name] and value not in specs[name]["choices"]} == {}
    # Else a check would compare with what is on the nodes.
    assert variables["rollout_preview_definitions"] is True


def test_every_variable_of_the_script_reaches_the_role(deploy: Deploy) -> None:
    deploy.will(result=result())
    deploy.run()
    read = set(re.findall(r"env', '(DEPLOY_\w+)'", json.dumps(given(deploy))))
    assert read == (script_variables() - {"DEPLOY_INVENTORY"}) | {"DEPLOY_TAKE_UP"}


# ----- the pipelines


def script_variables() -> set[str]:
    """The environment variables that the script reads."""
    return set(re.findall(r"^: \"\$\{(DEPLOY_\w+):=", SCRIPT.read_text(), re.MULTILINE))


def test_the_guide_has_every_variable_of_the_script_with_its_default() -> None:
    told = {literals(row[0])[0]: literals(row[1])[0] for row in csv_tables(GUIDES / "deploy_guide.rst")["Variables of deploy.sh"]}
    assert told == dict(re.findall(r"^: \"\$\{(DEPLOY_\w+):=(.*)\}\"", SCRIPT.read_text(), re.MULTILINE))


def test_the_guide_names_every_file_of_the_example() -> None:
    told = {literals(row[0])[0] for row in csv_tables(GUIDES / "deploy_guide.rst")["Files"]}
    assert told == {f"docs/deploy/{path.name}" for path in DEPLOY.iterdir()}


def github_job() -> Any:
    return load(GITHUB)["jobs"]["deploy"]


def gitlab_job() -> Any:
    return load(GITLAB)["deploy"]


def test_both_pipelines_call_the_script_as_it_is_to_be_called() -> None:
    github = [step["run"] for step in github_job()["steps"] if "deploy.sh" in step.get("run", "")]
    assert github == ["./deploy.sh", "./deploy.sh --resume"]
    (gitlab,) = (line for line in gitlab_job()["script"] if "deploy.sh" in line)
    assert re.findall(r"\./deploy\.sh(?: --\w+)?", gitlab) == ["./deploy.sh --resume", "./deploy.sh"]
    subprocess.run(["sh", "-n", "-c", gitlab], check=True, timeout=10)
    assert os.access(SCRIPT, os.X_OK)


def test_the_settings_of_both_pipelines_are_some_that_the_script_reads() -> None:
    for settings in (github_job()["env"], gitlab_job()["variables"]):
        assert set(settings) - script_variables() == set()
        assert {"DEPLOY_CANARY", "DEPLOY_BUDGET"} <= set(settings)


def test_both_pipelines_restart_what_a_push_changes_and_nothing_else() -> None:
    assert github_job()["env"]["DEPLOY_OUTDATED"] == "${{ inputs.all && 'false' || 'true' }}"
    asked = load(GITHUB)["on"]["workflow_dispatch"]["inputs"]["all"]
    assert (asked["type"], asked["default"]) == ("boolean", "false")
    assert gitlab_job()["variables"]["DEPLOY_OUTDATED"] == "true"
    assert any('$DEPLOY_OUTDATED == "false"' in rule["if"] for rule in gitlab_job()["rules"])


def test_both_pipelines_keep_result_and_rest_whatever_comes_and_give_the_rest_back() -> None:
    files = set(re.findall(r":=(deploy-\w+\.json)", SCRIPT.read_text()))
    keep = next(step for step in github_job()["steps"] if "upload-artifact" in step.get("uses", ""))
    assert (keep["if"], set(keep["with"]["path"].split())) == ("always()", files)
    get = next(step for step in github_job()["steps"] if "download-artifact" in step.get("uses", ""))
    assert get["with"]["name"] == keep["with"]["name"]
    artifacts, cache = gitlab_job()["artifacts"], gitlab_job()["cache"]
    assert (artifacts["when"], set(artifacts["paths"])) == ("always", files)
    assert (cache["when"], cache["paths"]) == ("always", ["deploy-resume.json"])


def test_after_a_good_deploy_gitlab_keeps_an_empty_file_and_not_the_older_one(tmp_path: Path) -> None:
    for line in gitlab_job()["after_script"]:
        subprocess.run(["sh", "-euc", line], cwd=tmp_path, check=True, timeout=10)
    (kept,) = gitlab_job()["cache"]["paths"]
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [(kept, 0)]


def test_what_somebody_else_may_write_is_never_a_part_of_a_command() -> None:
    commands = [step["run"] for step in github_job()["steps"] if "run" in step]
    assert [command for command in commands if "${{" in command] == []


# ----- the execution environment

#: The distribution that brings each package that is imported.
BROUGHT_BY = {"docker": "docker", "requests": "requests", "urllib3": "requests", "yaml": "pyyaml"}


def imported() -> set[str]:
    """The packages from outside that the collection imports anywhere but in the HTTP face, which is a service of a node.

    What ansible-core cannot be without is there wherever that is.
    """
    found: set[str] = set()
    for path in (CHECKOUT / "plugins").rglob("*.py"):
        if "_http_shim" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - {"__future__", "ansible", "ansible_collections", "jinja2", "markupsafe"}


def bounds(lines: Sequence[str]) -> dict[str, str]:
    """The least version of each library."""
    found = {requirements.Requirement(line).name.lower(): str(requirements.Requirement(line).specifier) for line in lines}
    return {name: next(each for each in specifier.split(",") if each.startswith(">=")) for name, specifier in found.items()}


def test_controllers_and_nodes_get_the_same_least_versions_of_the_libraries() -> None:
    described = load(CHECKOUT / "meta" / "execution-environment.yml")["dependencies"]
    controller = [line for line in (CHECKOUT / described["python"]).read_text().splitlines() if not line.startswith("#")]
    assert bounds(controller) == bounds(load(CHECKOUT / "roles" / "node" / "defaults" / "main.yml")["node_virtualenv_libraries"])


def test_the_examples_ask_for_the_ansible_core_that_the_collection_asks_for() -> None:
    (wanted,) = re.findall(r"'>=(.*)\.0'", (CHECKOUT / "meta" / "runtime.yml").read_text())
    for path in (GITHUB, DEPLOY / "execution-environment.yml"):
        assert re.findall(r"ansible-core([^\s\"]*)", path.read_text())[-1] == f">={wanted}"


def required(text: str) -> set[str]:
    return {requirements.Requirement(line).name.lower() for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")
def test_the_execution_environment_gets_each_library_that_the_collection_imports_and_no_other() -> None:
    described = load(CHECKOUT / "meta" / "execution-environment.yml")["dependencies"]
    assert {BROUGHT_BY[name] for name in imported()} == required((CHECKOUT / described["python"]).read_text())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as `make build` packs it, unpacked where ansible-builder looks for collections."""
    place = tmp_path_factory.mktemp("packed")
    copy = place / "copy"
    leave = shutil.ignore_patterns(".*", "__pycache__", "*.tar.gz", "fixtures")
    shutil.copytree(CHECKOUT, copy, ignore=leave)
    for name in (".build/x", ".git", "__pycache__/x.pyc", "plugins/__pycache__/x.pyc", "docs/.x", "old.tar.gz", "tests/output/x"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).touch()
    command = [tool("ansible-galaxy"), "collection", "build", "--output-path", str(place)]
    (place / "ansible.cfg").write_text("")
    environment = {**os.environ, "HOME": str(place), "ANSIBLE_CONFIG": str(place / "ansible.cfg")}
    subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True, timeout=120)
    target = place / "ansible_collections" / "fleet" / "power"
    target.mkdir(parents=True)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(target)  # our own, made a line ago
    return place


def test_the_packed_collection_has_everything_that_a_fleet_is_run_with(packed: Path) -> None:
    root = packed / "ansible_collections" / "fleet" / "power"
    for wanted in ("roles", "playbooks", "extensions", "docs/deploy", "docs/docsite/rst", "meta", "plugins"):
        here = {path.relative_to(CHECKOUT) for path in (CHECKOUT / wanted).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        there = {path.relative_to(root) for path in (root / wanted).rglob("*") if path.is_file()}
        assert {path for path in here if not any(part.startswith(".") for part in path.parts)} == there, wanted


def test_nothing_of_the_checkouts_own_life_is_packed(packed: Path) -> None:
    names = {path.name for path in (packed / "ansible_collections" / "fleet" / "power").rglob("*")}
    assert {name for name in names if name.startswith(".") or name.endswith((".pyc", ".tar.gz"))} == set()
    assert names & {"__pycache__", "output"} == set()


def test_ansible_builder_finds_the_libraries_and_the_ssh_client_in_the_packed_collection(packed: Path) -> None:
    command = [tool("ansible-builder"), "introspect", "--sanitize", str(packed)]
    found = yaml.safe_load(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    # PyYAML is in every environment already: ansible-builder leaves it out.
    assert {requirements.Requirement(line.partition(" # ")[0]).name for line in found["python"]} == {"docker", "requests"}
    assert [line.partition("  # ")[0] for line in found["system"]] == ["openssh-clients [platform:rpm]", "openssh-client [platform:dpkg]"]


def test_ansible_builder_accepts_the_environment_of_the_example(tmp_path: Path) -> None:
    example = DEPLOY / "execution-environment.yml"
    subprocess.run(
        [tool("ansible-builder"), "create", "-f", str(example), "-c", str(tmp_path)], check=True, capture_output=True, timeout=60
    )
    made = next(path for name in ("Containerfile", "Dockerfile") for path in tmp_path.glob(name)).read_text()
    assert "fleet.power" in (tmp_path / "_build" / "requirements.yml").read_text()
    assert "ansible-core" in made and "ansible-runner" in made


# ----- Ansible's settings


def sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_the_settings_that_the_guide_shows_are_those_of_the_checkout() -> None:
    ours = sections((CHECKOUT / "ansible.cfg").read_text())
    to_copy = sections((DEPLOY / "ansible.cfg").read_text())
    (shown,) = (
        sections(each.text) for each in examples(GUIDES / "fleet_guide.rst") if each.language == "ini" and "[ssh_connection]" in each.text
    )
    assert {name: {key: ours[name].get(key) for key in keys} for name, keys in shown.items()} == shown
    assert set(shown) == {"defaults", "connection", "ssh_connection"}
    assert to_copy == shown


def test_in_a_new_directory_the_lines_of_the_guide_have_ansible_find_the_playbooks(packed: Path, tmp_path: Path) -> None:
    (lines,) = (each.text for each in examples(GUIDES / "deploy_guide.rst") if "collection install" in each.text)
    commands = [line.removeprefix("$ ") for line in lines.splitlines()]
    assert [command.split()[0] for command in commands] == ["ansible-galaxy", "cp", "cp"]
    # The file in place of Galaxy.
    commands[0] = commands[0].replace("fleet.power", f"--offline {next(packed.glob('*.tar.gz'))}")
    home, repository = tmp_path / "home", tmp_path / "repository"
    home.mkdir()
    repository.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    environment.update(HOME=str(home), PATH=f"{Path(tool('ansible-playbook')).parent}:{os.environ['PATH']}")

    def run(command: str) -> str:
        ran = subprocess.run(
            ["sh", "-euc", command], cwd=repository, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    run("\n".join(commands))
    assert os.access(repository / "deploy.sh", os.X_OK)
    told = run("ansible-playbook -v -i localhost, fleet.power.status --list-tasks")
    assert f"Using {repository}/ansible.cfg as config file" in told and "Show the state of the fleet" in told


def test_a_silent_connection_is_kept_known_and_a_dead_one_is_noticed_within_75_seconds() -> None:
    text = sections((CHECKOUT / "ansible.cfg").read_text())["ssh_connection"]["ssh_extra_args"]
    seen = subprocess.run(["ssh", "-G", *text.split(), "node1"], check=True, capture_output=True, text=True, timeout=10).stdout
    told = dict(line.split(maxsplit=1) for line in seen.splitlines() if line.startswith("serveralive"))
    interval, count = int(told["serveraliveinterval"]), int(told["serveralivecountmax"])
    assert 0 < interval <= 30
    assert interval * (count + 1) <= 75


def test_the_settings_leave_openssh_its_shared_connections() -> None:
    assert "ssh_args" not in sections((CHECKOUT / "ansible.cfg").read_text())["ssh_connection"]
