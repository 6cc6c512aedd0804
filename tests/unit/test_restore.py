# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs on a node: the start after a boot, marks, archives, and sessions of their own."""

from __future__ import annotations

import json
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils import _own_session as login
from ansible_collections.fleet.power.plugins.module_utils import restore
from ansible_collections.fleet.power.plugins.module_utils._power.journal.mark import ProcessMarks
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.forked_support import AT_THE_LIMIT, ForkedModule, environment
from ansible_collections.fleet.power.tests.unit.lock_support import FORK, NO_GROUP, as_nobody_below, mode_of
from ansible_collections.fleet.power.tests.unit.thread_support import in_threads

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
COBALT = Server("0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001", "Cobalt")


def result(outcome: str, code: str = "", msg: str = "") -> Result:
    return Result(COBALT, PowerAction.START, Outcome(outcome), "op", NOON, NOON, code=code, msg=msg)


def test_an_import_has_no_effect_and_needs_no_ansible() -> None:
    script = (
        f"import sys, signal, threading; before = signal.getsignal(signal.SIGTERM); import {restore.__name__};"
        "assert signal.getsignal(signal.SIGTERM) is before; assert threading.active_count() == 1;"
        "assert not [name for name in sys.modules if name == 'ansible' or name.startswith('ansible.')]"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stagger", "-1"],
        ["--stagger", "3601"],
        ["--stagger", "\u0661"],
        ["--max-parallel", "1" * 4000],
        ["--wait-for", "healthy"],
        ["--no-such-option"],
        ["server"],
    ],
)
def test_wrong_arguments_end_the_program_with_its_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        restore.main(arguments)
    assert left.value.code == 2
    assert "usage: restore" in capsys.readouterr().err


@pytest.mark.parametrize(
    "ended, line, down",
    [
        (result("done"), "started", False),
        (result("unchanged", msg="it is up already"), "up already", False),
        (result("skipped", "suspended", "Cannot"), "passed over, suspended: Cannot", False),
        (result("refused", "server_not_found", "Cannot"), "passed over, server_not_found: Cannot", False),
        (result("skipped", "interrupted_by_signal", "Cannot"), "skipped, interrupted_by_signal: Cannot", True),
        (result("refused", "wings_active", "Cannot"), "refused, wings_active: Cannot", True),
        (result("failed", "start_failed", "Cannot"), "failed, start_failed: Cannot", True),
        (result("cancelled", "cancelled_by_kill", "Cannot"), "cancelled, cancelled_by_kill: Cannot", True),
    ],
)
def test_each_result_gives_a_line_and_only_a_down_server_counts_as_failed(ended: Result, line: str, down: bool) -> None:
    assert restore._line(ended) == f"{COBALT.uuid} Cobalt: {line}"
    assert restore._is_down(ended) == down


class TestMaintenance:
    @pytest.fixture
    def record(self, tmp_path: Path) -> Path:
        return tmp_path / "maintenance.json"

    def test_a_reboot_of_a_maintenance_is_reported_with_its_next_step(self, record: Path, capsys: pytest.CaptureFixture[str]) -> None:
        record.write_text('{"schema": 1, "phase": "reboot", "servers": []}')
        assert restore._is_rebooting(str(record.parent))
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"Nothing is started: {record} says") and "run it again" in line

    @pytest.mark.parametrize("text", [None, "{}", '{"phase": "stop"}', '{"phase": "start"}', '{"phase": ["reboot"]}', '{"phase": null}'])
    def test_another_phase_gives_no_message(self, record: Path, capsys: pytest.CaptureFixture[str], text: str | None) -> None:
        if text is not None:
            record.write_text(text)
        assert not restore._is_rebooting(str(record.parent))
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'["reboot"]', b'"reboot"', b"[" * 100_000])
    def test_an_unreadable_record_gives_an_error_message(self, record: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
        record.write_bytes(content)
        assert not restore._is_rebooting(str(record.parent))
        assert capsys.readouterr().err.startswith(f"Cannot read {record}: role maintenance did not write it; ")

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
    def test_a_special_file_in_place_of_the_record_does_not_block(
        self, record: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object]
    ) -> None:
        make(record)
        assert not restore._is_rebooting(str(record.parent))
        assert capsys.readouterr().err.startswith(f"Cannot read {record}: ")


@pytest.mark.parametrize("error, said", [(EngineUnreachable("no answer"), "no answer"), (KeyError("a secret"), "KeyError")])
def test_an_error_is_one_line_and_never_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(*_given: object) -> bool:
        raise error

    monkeypatch.setattr(restore, "_restore", fail)
    monkeypatch.setattr(restore, "Interruptions", lambda: None)
    assert restore.main([]) == 1
    printed = capsys.readouterr()
    assert said in printed.err and len(printed.err.splitlines()) == 1 and "secret" not in printed.err


def marks_in(directory: Path) -> ProcessMarks:
    return ProcessMarks(str(directory), NO_GROUP, pytest.fail)


def test_a_mark_is_alive_from_open_to_close_and_leaves_no_file(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    marks = marks_in(directory)
    assert not directory.exists()
    name = marks.own_name()
    assert name == marks.own_name()
    assert marks_in(directory).is_alive(name)
    assert mode_of(directory / name) == 0o660
    marks.close()
    marks.close()
    assert not marks_in(directory).is_alive(name)
    assert os.listdir(directory) == []


def live_until_killed(directory: str, parent: multiprocessing.connection.Connection) -> None:
    parent.send(marks_in(Path(directory)).own_name())
    signal.pause()


def test_a_mark_dies_with_its_process_even_by_sigkill(tmp_path: Path) -> None:
    here, there = FORK.Pipe()
    child = FORK.Process(target=live_until_killed, args=(str(tmp_path), there))
    child.start()
    name = here.recv()
    assert marks_in(tmp_path).is_alive(name)
    child.kill()
    child.join(10)
    assert not marks_in(tmp_path).is_alive(name)
    assert (tmp_path / name).exists()


def test_parallel_checks_always_see_a_live_mark_as_alive(tmp_path: Path) -> None:
    marks = marks_in(tmp_path)
    name = marks.own_name()
    assert all(in_threads(4, lambda _number: all(marks_in(tmp_path).is_alive(name) for _unused in range(300))))
    marks.close()


@pytest.mark.parametrize("name", ["", "../secret", "process-1-ab.mark\n", "process-1-ab.mark\0", "x.lock"])
def test_an_invalid_name_of_a_mark_is_dead(tmp_path: Path, name: str) -> None:
    assert not marks_in(tmp_path).is_alive(name)


def test_a_mark_without_read_permission_counts_as_alive(tmp_path: Path) -> None:
    marks = marks_in(tmp_path)
    name = marks.own_name()
    with as_nobody_below(tmp_path / "x"):
        assert marks_in(tmp_path).is_alive(name)
    marks.close()


MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"

#: Imports a package and a module of it from the archive. Prints the compiled files and the paths of both.
IMPORTING = """
import json, sys
compiled = []
sys.addaudithook(lambda event, arguments: compiled.append(str(arguments[1])) if event == "compile" else None)
sys.path.insert(0, sys.argv[1])
from core._archive import compile_once
compile_once()
import core.package.part
ours = [name for name in compiled if "package" in name]
print(json.dumps([ours, core.package.__file__, core.package.part.__file__, core.package.part.VALUE]))
"""


def test_a_module_of_an_archive_is_compiled_once(tmp_path: Path) -> None:
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("core/__init__.py", "")
        made.writestr("core/_archive.py", (MODULE_UTILS / "_archive.py").read_text())
        made.writestr("core/package/__init__.py", "")
        made.writestr("core/package/part.py", "VALUE = 5\n")
    package, part = f"{archive}/core/package/__init__.py", f"{archive}/core/package/part.py"
    command = [sys.executable, "-c", IMPORTING, str(archive)]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert printed == [[package, part], package, part, 5]


def test_an_import_outside_of_an_archive_stays_unchanged() -> None:
    script = "import sys\nfrom ansible_collections.fleet.power.plugins.module_utils._archive import compile_once\n"
    script += "before = list(sys.path_hooks)\ncompile_once()\nassert sys.path_hooks == before\n"
    subprocess.run([sys.executable, "-c", script], check=True)


CORE = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_power"
UTILS = "ansible_collections.fleet.power.plugins.module_utils"
#: Each ends because its settings do not exist.
PROGRAMS = ("events", "http_shim", "restore", "supervisor")
IMPORTED = """
import json, sys
assert main(["--config", "/nowhere/config.yml"]) == 1
print(json.dumps([name for name in sys.modules if "._power" in name]))
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_every_file_of_the_core_before_it_begins(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {UTILS}.{program} import main\n{IMPORTED}"], capture_output=True, text=True, check=True
    )
    names = (path.relative_to(CORE.parent).with_suffix("").as_posix().replace("/", ".") for path in CORE.rglob("*.py"))
    assert {f"{UTILS}.{name.removesuffix('.__init__')}" for name in names} <= set(json.loads(done.stdout))


PRELUDE = """
import atexit, json, os, signal, sys, time
from ansible_collections.fleet.power.plugins.module_utils._own_session import in_own_session

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")

def await_end(interrupted):
    deadline = time.monotonic() + 20
    while not interrupted():
        if time.monotonic() > deadline:
            note("never interrupted")
            return
        time.sleep(0.01)
    note("interrupted")
"""
FINISHES = """
def main(interrupted):
    note(f"begun {os.getpid()} {os.getsid(0)}")
    await_end(interrupted)
    time.sleep(0.1)
    note("finished")
    print(json.dumps({"changed": True}), flush=True)

in_own_session(main)
"""


@pytest.fixture(name="run")
def start_module(tmp_path: Path) -> Iterator[Callable[[str], ForkedModule]]:
    with ExitStack() as started:
        yield lambda script: started.enter_context(closing(ForkedModule(PRELUDE + script, tmp_path / "notes")))


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_parent_passes_on_the_childs_result_and_exit_code(run: Callable[[str], ForkedModule], code: int) -> None:
    module = run(f"def main(interrupted):\n    print('the result', flush=True)\n    sys.exit({code})\nin_own_session(main)")
    assert module.end() == (code, "the result\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_the_parent_reaches_the_child_and_ends_no_process(run: Callable[[str], ForkedModule], number: signal.Signals) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.parent.send_signal(number)
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["interrupted", "finished"]


@pytest.mark.parametrize("side", ["after_in_parent", "after_in_child"])
def test_a_signal_during_the_fork_is_not_lost(run: Callable[[str], ForkedModule], side: str) -> None:
    module = run(f"os.register_at_fork({side}=lambda: os.kill(os.getpid(), signal.SIGTERM))\n" + FINISHES)
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["interrupted", "finished"]


def test_the_child_leaves_the_parents_process_group(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    _begun, child, session = module.await_note("begun").split()
    assert child == session
    assert os.getpgid(int(child)) == int(child) != os.getpgid(module.parent.pid)
    module.parent.terminate()
    module.end()


def test_a_child_finishes_after_a_kill_of_its_parent(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.parent.kill()
    module.parent.wait()
    module.await_note("finished")
    assert module.noted()[1] == "interrupted"


def test_a_child_notices_a_closed_output_and_finishes(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.stop_reading()
    module.await_note("finished")
    assert module.noted()[1] == "interrupted"
    assert module.parent.wait(20) == 1
    assert module.parent.stderr is not None
    assert module.parent.stderr.read() == ""


def test_a_killed_child_gives_one_failed_result_with_its_signal(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    os.kill(module.child(), signal.SIGKILL)
    code, output, errors = module.end()
    assert (code, errors) == (1, "")
    result = json.loads(output)
    assert (result["failed"], result["code"]) == (True, "interrupted")
    assert "ended by signal 9" in result["msg"]


@pytest.mark.parametrize("leads_its_group", [False, True])
@pytest.mark.parametrize("code", [0, 3])
def test_a_failed_fork_runs_the_work_in_the_parent_process(leads_its_group: bool, code: int) -> None:
    script = f"""
def main(interrupted):
    before = interrupted()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(os.getpid(), number)
    print(json.dumps([before, interrupted(), os.getpid() == parent, os.getsid(0) == parent]))
    if {code}:
        sys.exit({code})

parent = os.getpid()
in_own_session(main)
"""
    command = [sys.executable, "-c", PRELUDE + AT_THE_LIMIT + script]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, start_new_session=leads_its_group, timeout=30, check=False
    )
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (code, [False, True, True, True], "")


SERVICE = "0::/system.slice/ssh.service\n"
LOGIN = "9:name=systemd:/\n0::/user.slice/user-1000.slice/session-3.scope\n"
COMMAND = "0::/system.slice/run-u12.service\n"


class Bus:
    """A fake ``busctl`` with the test's answers. It records its requests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def answers(self, kills: str, code: int = 0) -> None:
        program = self.directory / "busctl"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {self.directory}/asked\ncase "$*" in *KillUserProcesses*) echo "{kills}";; esac\nexit {code}\n'
        )
        program.chmod(0o755)

    @property
    def started(self) -> str:
        asked = self.directory / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return next((line for line in lines if "StartTransientUnit" in line), "")


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return Bus(tmp_path)


@pytest.mark.parametrize(
    "units, kills, uid, outlives, moves",
    [
        (SERVICE, "b true", 1000, True, False),
        (LOGIN, "b false", 1000, True, False),
        (LOGIN, "b true", 1000, False, False),
        (LOGIN, "b true", 0, True, True),
        (COMMAND, "b false", 1000, False, False),
        (COMMAND, "b false", 0, True, True),
    ],
)
def test_a_process_moves_only_if_it_would_end_with_its_unit_and_has_permission(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, units: str, kills: str, uid: int, outlives: bool, moves: bool
) -> None:
    bus.answers(kills)
    monkeypatch.setattr(login, "_units_of", lambda pid: units)
    monkeypatch.setattr(login.os, "geteuid", lambda: uid)
    assert login.outlive_login(4711, "fleet-power-job-1") is outlives
    assert ("fleet-power-job-1.scope fail" in bus.started and bus.started.endswith("PIDs au 1 4711 0")) is moves


@pytest.mark.parametrize("code", [1, 127])
def test_a_process_does_not_outlive_the_login_if_busctl_fails(bus: Bus, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    bus.answers("", code)
    monkeypatch.setattr(login, "_units_of", lambda pid: LOGIN)
    assert not login.outlive_login(4711, "fleet-power-job-1")


def test_an_ended_process_does_not_outlive_the_login() -> None:
    assert not login.outlive_login(1 << 30, "fleet-power-job-1")
