# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of a node: its hash, its trust, its installation and removal; and the bytecode of a core on the controller."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils import _core, _core_install

CHECKOUT = Path(__file__).resolve().parents[2]
MODULE_UTILS = CHECKOUT / "plugins" / "module_utils"
PYTHON = os.path.realpath(sys.executable)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that only root can write")


@pytest.fixture(name="home")
def trusted_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that only root can write, also by the way to it, unlike pytest's."""
    home = Path(tempfile.mkdtemp(prefix="fleet-power-test-", dir="/run"))
    for module in (_core, _core_install):
        monkeypatch.setattr(module, "HOME", str(home))
    monkeypatch.setattr(_core_install, "_USERS", (str(home / "*.service"), str(home / "command")))
    yield home
    shutil.rmtree(home)


@pytest.fixture(name="core")
def small_core(home: Path) -> Path:
    """An installed core with two sources."""
    (home / "sources" / "below").mkdir(parents=True)
    (home / "sources" / "one.py").write_text("")
    (home / "sources" / "below" / "two.py").write_text("USED = True")
    return installed(home, home / "sources")


def installed(home: Path, sources: Path) -> Path:
    archive = home / "core.zip"
    _core.pack(str(sources), str(archive))
    digest = _core.digest_of(_core.sources(str(sources)))
    assert _core_install.install(str(archive), digest) == (str(home / f"core-{digest}"), True)
    return home / f"core-{digest}"


def ran(core: Path, code: str, **variables: str) -> str:
    """Run code in a process that uses a core as a call does; return its output."""
    use = f"from ansible_collections.fleet.power.plugins.module_utils import _core; _core.use_core({str(core)!r}); {code}"
    environment = {"PYTHONPATH": str(CHECKOUT / ".build"), "PATH": os.defpath, **variables}
    done = subprocess.run([PYTHON, "-S", "-c", use], env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


def test_the_hash_changes_with_any_name_and_content_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    found = set()
    for path, text in (("a.py", ""), ("a.py", "1"), ("below/a.py", "1"), ("below/b.py", "1"), ("b.txt", "no source"), ("__pycache__", "")):
        (tmp_path / path).write_text(text)
        found.add(_core.digest_of(_core.sources(str(tmp_path))))
    assert len(found) == 4


@as_root
def test_everything_of_the_collection_comes_from_the_core(home: Path) -> None:
    core = installed(home, MODULE_UTILS)
    assert core.name == f"core-{_core.digest_of(_core.sources(os.path.dirname(_core.__file__)))}"
    code = (
        "import fleet_power._power.call, fleet_power.supervisor, sys; "
        "print(sorted({m.__spec__.origin.split('/plugins/')[0] for n, m in sys.modules.items() if n.startswith('fleet_power.')"
        " and not m.__spec__.origin.startswith(sys.argv[0])})); print([n for n in sys.modules if n.startswith('ansible_coll')])"
    )
    shown = ran(core, code.replace("sys.argv[0]", repr(str(core))))
    assert shown.splitlines()[0] == "[]"
    assert sum("module_utils." in name for name in shown.splitlines()[1].split(",")) == 1


@as_root
def test_bytecode_of_the_core_is_used_and_none_is_written(core: Path) -> None:
    before = sorted(core.rglob("*"))
    for variables in ({}, {"PYTHONPYCACHEPREFIX": str(core.parent / "cache")}):
        assert ran(core, "import fleet_power.below.two as two; print(two.__cached__)", **variables).startswith(str(core))
    shutil.rmtree(core / "fleet_power/below/__pycache__")
    assert ran(core, "import fleet_power.below.two as two; print(two.USED)") == "True\n"
    assert sorted(core.rglob("*")) == [path for path in before if "below/__pycache__" not in str(path)]


@as_root
def test_a_core_is_used_on_a_read_only_disk_and_its_use_makes_no_file(home: Path, core: Path) -> None:
    before = sorted(home.rglob("*"))
    subprocess.run(["mount", "--bind", "-o", "ro", home, home], check=True, timeout=60)
    try:
        assert ran(core, "print('used')") == "used\n"
    finally:
        subprocess.run(["umount", home], check=True, timeout=60)
    assert ran(core, "print('used')") == "used\n"
    assert sorted(home.rglob("*")) == before


@as_root
@pytest.mark.parametrize("fault", ["a file", "a directory", "an owner", "a link", "another version", "a parent", "the removal"])
def test_a_core_that_others_can_write_is_never_imported(home: Path, core: Path, fault: str) -> None:
    chosen = core / "fleet_power" / "below" / "two.py"
    if fault == "a link":
        chosen.rename(home / "elsewhere.py")
        chosen.symlink_to(home / "elsewhere.py")
    elif fault == "an owner":
        os.chown(chosen, 1, 1)
    elif fault == "the removal":
        shutil.rmtree(core)
    elif fault == "another version":
        core.rename(home / "core-other")
        (home / ".held-core-other").touch()
        core.symlink_to(home / "core-other")
    else:
        path = {"a file": chosen, "a directory": chosen.parent, "a parent": home}[fault]
        path.chmod(path.stat().st_mode | 0o020)
    said = {
        "a link": "two.py is neither a file nor a directory; run the playbook",
        "an owner": "belongs to user 1; run the playbook",
        "another version": f"{core} was replaced",
        "a parent": f"users other than root can write {home}; on the node, run chown -h root {home} && chmod go-w {home}",
        "the removal": f"the node has no core: {core} is missing; run the playbook",
    }
    assert said.get(fault, "users other than root can write") in ran(core, "print('used')")


def test_a_core_below_a_directory_of_all_users_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    with pytest.raises(_core.CoreUnusable, match="run chown"):
        _core.use_core(str(tmp_path / "core"))


@as_root
@pytest.mark.parametrize(
    "damage",
    [
        lambda core: (core / "fleet_power" / "one.py").unlink(),
        lambda core: (core / "fleet_power" / "below").chmod(0o700),
        lambda core: (core / "fleet_power" / "below").chmod(0o744),
        lambda core: os.mkfifo(core / "fleet_power" / "fifo.py"),
        lambda core: (shutil.rmtree(core), core.symlink_to("/")),
    ],
    ids=["file", "mode", "search", "fifo", "link"],
)
def test_an_installed_core_stays_and_a_damaged_one_is_replaced(home: Path, core: Path, damage: Callable[[Path], object]) -> None:
    assert _core.fault_of(str(core)) == ""
    assert _core_install.install(str(home / "core.zip"), core.name[len("core-") :]) == (str(core), False)
    good = (core / "fleet_power" / "one.py").read_bytes()
    damage(core)
    assert installed(home, home / "sources") == core
    assert ((core / "fleet_power" / "one.py").read_bytes(), _core.fault_of(str(core))) == (good, "")


@as_root
def test_bytecode_that_others_could_write_is_replaced(home: Path, core: Path) -> None:
    (bytecode,) = core.rglob("two.*.pyc")
    bytecode.write_bytes(b"evil")
    bytecode.chmod(0o666)
    assert installed(home, home / "sources") == core
    assert bytecode.read_bytes() != b"evil" and bytecode.stat().st_mode & 0o777 == 0o644


@as_root
@pytest.mark.parametrize("lost", ["all", "the end", "the source", "its form"])
def test_bytecode_that_is_missing_or_damaged_is_made_again(home: Path, core: Path, lost: str) -> None:
    # Such as that of a second Python, or after an interrupted installation.
    (bytecode,) = core.rglob("two.*.pyc")
    good = bytecode.read_bytes()
    # As a process without -B writes it: with the time of the source, not its hash.
    timed = good[:4] + bytes(4) + int((core / "fleet_power/below/two.py").stat().st_mtime).to_bytes(4, "little") + good[12:]
    bytecode.write_bytes({"all": b"", "the end": good[:-1], "the source": good[:8] + b"another!" + good[16:], "its form": timed}[lost])
    assert installed(home, home / "sources") == core
    assert bytecode.read_bytes()[:16] == good[:16] and ran(core, "import fleet_power.below.two as two; print(two.USED)") == "True\n"


@as_root
def test_the_core_of_another_run_of_the_role_is_not_installed(home: Path, core: Path) -> None:
    with pytest.raises(OSError, match="run it again"):
        _core_install.install(str(home / "core.zip"), "0123456789abcdef")
    assert sorted(os.listdir(home)) == [f".held-{core.name}", ".lock", core.name, "core.zip", "sources"]


@as_root
@pytest.mark.parametrize("owner", [0, 1])
def test_a_link_on_the_way_to_the_core_must_belong_to_root(home: Path, core: Path, owner: int) -> None:
    (home / "way").symlink_to(f"../{home.name}")
    os.lchown(home / "way", owner, owner)
    assert ("used\n" if owner == 0 else f"{home}/way belongs to user 1; on the node, run chown -h root") in ran(
        home / "way" / core.name, "print('used')"
    )


def test_the_same_sources_make_the_same_archive(tmp_path: Path) -> None:
    shutil.copytree(MODULE_UTILS, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    for directory, name in ((MODULE_UTILS, "one.zip"), (tmp_path / "copy", "other.zip")):
        _core.pack(str(directory), str(tmp_path / name))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


@as_root
def test_only_cores_that_nothing_uses_are_removed(
    home: Path, core: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(_core_install.os, "sync", lambda: synced.append((home / "core-unused").exists()))
    (home / "core-backup.tgz").touch()
    for name in ("core-commanded", "core-held", "core-named", "core-unused", "core-young", ".core-unfinished", "venv"):
        (home / name / "fleet_power").mkdir(parents=True)
        if name != "core-young":
            os.utime(home / name, (0, 0))
    (home / "a.service").write_text(f"Environment=PYTHONPATH={home}/core-named\n")
    (home / "command").write_text(f"exec python3 -c 'import sys; sys.path.insert(0, \"{home}/core-commanded\")'\n")
    Path(_core.lock_of(str(home / "core-held"))).touch()
    held = _core.hold_core(str(home / "core-held"))
    _core_install.remove_unused(str(core))
    os.close(held)
    assert capsys.readouterr().out.splitlines() == [str(home / ".core-unfinished"), str(home / "core-unused")]
    _core_install.remove_unused(str(core))
    assert capsys.readouterr().out.splitlines() == [str(home / "core-held")]
    assert synced == [True, False]
    assert sorted(os.listdir(home)) == sorted(
        [
            f".held-{core.name}",
            ".lock",
            "a.service",
            "command",
            "core-backup.tgz",
            core.name,
            "core-commanded",
            "core-named",
            "core-young",
            "core.zip",
            "sources",
            "venv",
        ]
    )


@as_root
@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_a_core_is_used_and_removed_despite_a_lock_of_another_user(
    home: Path, core: Path, capsys: pytest.CaptureFixture[str], kind: int
) -> None:
    home.chmod(0o755)
    os.utime(core, (0, 0))
    code = (
        "import fcntl, os, sys; os.setuid(65534);"
        f"fcntl.flock(os.open({str(core)!r}, os.O_RDONLY), {kind | fcntl.LOCK_NB});"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([PYTHON, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        assert ran(core, "print('used')") == "used\n"
        with pytest.raises(PermissionError):
            open_as_nobody(_core.lock_of(str(core)))
        _core_install.remove_unused("")
        other.communicate("")
    assert capsys.readouterr().out.splitlines() == [str(core)]
    assert not os.path.exists(_core.lock_of(str(core)))


def open_as_nobody(path: str) -> None:
    os.seteuid(65534)
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        os.seteuid(0)


@as_root
def test_a_process_that_cannot_hold_its_core_has_all_of_it_in_memory(home: Path) -> None:
    home.chmod(0o755)
    core = installed(home, MODULE_UTILS)
    code = (
        # Another user may not read the Python of these tests.
        "import os, sys; os.geteuid = lambda: 65534; from ansible_collections.fleet.power.plugins.module_utils import _core;"
        f"_core.use_core({str(core)!r});"
        "print(sorted(sys.modules))"
    )
    environment = {"PYTHONPATH": str(CHECKOUT / ".build"), "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60)
    power = core / "fleet_power"
    sources = {path.relative_to(power).with_suffix("") for path in (power / "_power").rglob("*.py") if path.stem != "__init__"}
    assert {f"fleet_power.{str(path).replace('/', '.')}" for path in sources} <= set(json.loads(done.stdout.replace("'", '"')))


@pytest.mark.parametrize("cache", ["none", "own", "shared", "open", "link", pytest.param("another's", marks=as_root)])
def test_bytecode_of_the_collection_goes_to_a_cache_that_only_its_user_can_write(tmp_path: Path, cache: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="fleet-power-test-", dir=Path.home()))
    try:
        if cache == "another's":
            os.chown(home, 1, 1)
        elif cache != "none":
            (home / ".cache").mkdir()
            (home / ".cache").chmod(0o777 if cache == "shared" else 0o755)
        if cache == "open":
            (home / ".cache" / "fleet-power").mkdir(mode=0o755)
        if cache == "link":
            (home / ".cache" / "fleet-power").symlink_to(home / "elsewhere")
            (home / "elsewhere").mkdir()
            (home / "elsewhere").chmod(0o777)
        (tmp_path / "sources").mkdir()
        (tmp_path / "sources" / "one.py").write_text("")

        def use(keeps_bytecode: bool) -> tuple[str, ...]:
            code = (
                "import os, pwd, sys; from ansible_collections.fleet.power.plugins.module_utils import _core; os.umask(0o002);"
                f"pwd.getpwuid = lambda _: type('U', (), {{'pw_dir': {str(home)!r}}});"
                f"_core.use_collection({str(tmp_path / 'sources')!r}, keeps_bytecode={keeps_bytecode});"
                "import fleet_power.one; print(sys.pycache_prefix)"
            )
            environment = {"PYTHONPATH": str(CHECKOUT / ".build"), "PATH": os.defpath}
            done = subprocess.run([PYTHON, "-S", "-c", code], env=environment, check=True, timeout=60, capture_output=True, text=True)
            assert not list((tmp_path / "sources").rglob("__pycache__"))
            return done.stdout.strip(), *(path.name for path in home.rglob("one.*.pyc"))

        checked, kept, again = (use(keeps) for keeps in (False, True, False))
        assert len(kept) == (2 if cache in ("none", "own") else 1)
        assert checked[1:] == () and again[0] == kept[0]
        assert cache != "another's" or not list(home.iterdir())
        for bytecode in home.rglob("one.*.pyc"):
            bytecode.write_bytes(bytecode.read_bytes()[:-1])
        assert use(True) == kept
    finally:
        shutil.rmtree(home)


@as_root
@pytest.mark.parametrize("closed", [".", "_power/journal", "_power/actions/many/server_facts.py"])
def test_a_user_without_access_to_the_collection_gets_the_whole_module(home: Path, closed: str) -> None:
    pytest.importorskip("ansible.module_utils.basic")
    home.chmod(0o755)
    shutil.copytree(MODULE_UTILS, home / "copy")
    (home / "copy" / closed).chmod(0o700)
    asked = {"run": "run_info_module", "digest": "", "collection": str(home / "copy"), "keeps_bytecode": True}
    code = "import os; from ansible_collections.fleet.power.plugins.modules import core_call; os.setuid(65534); core_call.main()"
    environment = {"PYTHONPATH": str(CHECKOUT / ".build"), "PATH": os.defpath, _core.VARIABLE: json.dumps(asked)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)[_core.NO_CORE] == f"user 65534 cannot read {home / 'copy' / closed}"
