# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for a server and the sources of its definition, also with broken, hostile or unreachable sources."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    AmbiguousServer,
    DefinitionInvalid,
    ServerNotFound,
    SourceUnreachable,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.sources.source_set import SourceSet
from ansible_collections.fleet.power.plugins.module_utils._power.sources.sources import Sources
from ansible_collections.fleet.power.tests.unit.lock_support import NO_GROUP, as_nobody_below, mode_of

A = "aaaaaaaa-0000-4000-8000-000000000001"
A2 = "aaaaaaaa-0000-4000-8000-000000000002"
B = "bbbbbbbb-0000-4000-8000-000000000003"
C = "01234567-0000-4000-8000-000000000004"
START, STOP, KILL = PowerAction.START, PowerAction.STOP, PowerAction.KILL


def definition(uuid: str, name: str = "", **settings: Any) -> dict[str, Any]:
    return {"settings": {"uuid": uuid, "meta": {"name": name}, "container": {"image": "img"}, **settings}}


class Place:
    def __init__(self, base: Path) -> None:
        self.directory = base / "servers"
        self.state = base / "state"
        self.directory.mkdir()

    def sources(self, *task: object, containers: Callable[[], Sequence[Server]] = lambda: (), allow_stale: bool = False) -> Sources:
        system = {"definitions": str(self.directory), "state_directory": str(self.state), "group": NO_GROUP}
        settings = parse_settings({"system": system, "remote_query": {"allow_stale": allow_stale}}, where="test")
        return Sources(SourceSet(settings, task=task, containers=containers))

    def write(self, uuid: str, name: str = "", extension: str = "json", **settings: Any) -> Path:
        path = self.directory / f"{uuid}.{extension}"
        path.write_text(json.dumps(definition(uuid, name, **settings)), encoding="utf-8")
        return path

    def keep(self, uuid: str, name: str = "") -> None:
        sources = self.sources(definition(uuid, name))
        sources.keep(sources.definition(uuid))
        assert sources.warnings == []

    def kept(self, uuid: str) -> Path:
        return self.state / "definitions" / f"{uuid}.json"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_short_id_or_name_is_found_in_task_directory_and_containers(place: Place) -> None:
    place.write(B, "Arena")
    sources = place.sources(definition(A, "Lobby"), containers=lambda: [Server(C, "Box")])
    for action in (START, STOP):
        assert [sources.search.identify(text, action) for text in ("AAAAAAAA", "Lobby")] == [Server(A, "Lobby")] * 2
        assert [sources.search.identify(text, action) for text in ("bbbbbbbb", " Arena ")] == [Server(B, "Arena")] * 2
        assert [sources.search.identify(text, action) for text in ("01234567", "Box")] == [Server(C, "Box")] * 2


def test_kept_definitions_identify_servers_for_stop_and_kill_but_not_for_start(place: Place) -> None:
    place.keep(A, "Lobby")
    for text in ("Lobby", "aaaaaaaa"):
        assert place.sources().search.identify(text, STOP) == place.sources().search.identify(text, KILL) == Server(A, "Lobby")
        with pytest.raises(ServerNotFound):
            place.sources().search.identify(text, START)


def test_a_short_id_or_name_of_several_servers_is_an_error_that_lists_the_servers(place: Place) -> None:
    place.write(A, "Twin")
    for text in ("aaaaaaaa", "Twin"):
        with pytest.raises(AmbiguousServer, match=f"{A}, {A2}") as caught:
            place.sources(definition(A2, "Twin")).search.identify(text, KILL)
        assert caught.value.facts["servers"] == [A, A2]


@pytest.mark.parametrize(
    "text",
    ["", "\0", "../../etc/passwd", A[:-1], "x" * 1_000_000, "\ud800"],
)
@pytest.mark.parametrize("action", [START, KILL])
def test_invalid_text_gives_a_short_error_that_no_server_is_found(place: Place, text: str, action: PowerAction) -> None:
    place.write(A, "")
    with pytest.raises(ServerNotFound) as caught:
        place.sources(containers=lambda: [Server(B, "")]).search.identify(text, action)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_a_broken_file_is_reported_and_hides_no_other_server(place: Place) -> None:
    broken = place.write(A, "Lobby")
    broken.write_text("{", encoding="utf-8")
    place.write(B, "Arena")
    sources = place.sources()
    assert sources.search.identify("Arena", START) == Server(B, "Arena")
    assert sources.search.identify("aaaaaaaa", KILL) == Server(A)
    with pytest.raises(ServerNotFound, match=f"1 definition could not be read, maybe that of this server: {broken}; see the warnings"):
        sources.search.identify("Lobby", KILL)
    (warning,) = sources.warnings
    assert warning.startswith(f"Cannot read definition {broken}: it is not JSON: line 1, column 2: a key in double quotes is expected here")


@pytest.mark.parametrize("uuid", ["../secret", f"../servers/{A}", A.upper(), "", "\0", f"{A}\n"])
def test_only_a_canonical_uuid_names_a_file(place: Place, uuid: str) -> None:
    place.write(A)
    (place.directory.parent / "secret.json").write_text(json.dumps(definition(A)), encoding="utf-8")
    with pytest.raises(ServerNotFound):
        place.sources().definition(uuid)


def test_a_task_definition_without_a_uuid_is_an_error_of_a_search_without_a_match(place: Place) -> None:
    place.write(B, "Arena")
    sources = place.sources({"settings": {"meta": {"name": "Lobby"}}}, "nonsense")
    assert sources.definition(B).server.uuid == B
    assert sources.search.identify("Arena", START).uuid == B
    for ask in (lambda: sources.definition(A), lambda: sources.search.identify("Lobby", START)):
        with pytest.raises(DefinitionInvalid, match=r"definitions\[0\]: settings.uuid is missing"):
            ask()
    with pytest.raises(ServerNotFound):
        sources.search.identify("Lobby", KILL)


def test_a_file_with_another_uuid_than_its_name_is_invalid(place: Place) -> None:
    place.write(A).write_text(json.dumps(definition(B)), encoding="utf-8")
    with pytest.raises(DefinitionInvalid, match=f"{A}.json: its settings.uuid is {B}"):
        place.sources().definition(A)


def test_a_uuid_under_two_extensions_is_invalid_for_that_server_only(place: Place) -> None:
    place.write(A)
    place.write(A, extension="yml")
    place.write(B)
    with pytest.raises(DefinitionInvalid, match=r"json and .*yml both exist; remove one"):
        place.sources().definition(A)
    assert place.sources().definition(B).server.uuid == B


def bomb(level: bytes) -> bytes:
    """Twenty levels, each ten times larger than the last: too large for any memory when expanded."""
    return b"a0: &a0 {k: v}\n" + b"".join(level % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 20))


@pytest.mark.usefixtures("yaml_reader")
@pytest.mark.parametrize(
    ("extension", "content", "reason"),
    [
        ("json", b'{"settings": {\n  "uuid" 5}}', "line 2, column 10: "),
        ("json", b"[" * 500_000, "nested too deeply"),
        ("json", b'{"a": ' + b"9" * 100_000 + b"}", "a number of 100000 digits"),
        ("json", b'{"a": NaN}', "NaN is not JSON"),
        ("json", b'{"a": "\xff"}', r"not UTF-8 text \(byte 7\)"),
        ("json", b" " * (1024 * 1024 + 1), "larger than 1048576 bytes"),
        ("yml", b"", "the top level"),
        ("yml", b"settings:\n  uuid: [\n", "line [23], column "),
        ("yml", b"a: !!python/object/apply:os.system ['true']\n", "line 1, column 4: a tag is not known here"),
        ("yml", b"a: !vault |\n  $ANSIBLE_VAULT\n", "a tag is not known here"),
        ("yml", b"a: 1\n--- \nb: 2\n", "line 2, column 1: a second document begins"),
        ("yml", b"- " * 300_000, "nested too deeply"),
        ("yml", bomb(b"a%d: &a%d [%s]\n"), "holds too much"),
        ("yml", bomb(b"a%d: &a%d {<<: [%s]}\n"), "holds too much"),
    ],
)
def test_an_invalid_text_is_refused_quickly_with_the_place_of_the_fault(place: Place, extension: str, content: bytes, reason: str) -> None:
    path = place.write(A, extension=extension)
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(DefinitionInvalid, match=f"Cannot read definition {path}: .*({reason})"):
        place.sources().definition(A)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("yaml_reader")
def test_values_that_yaml_1_1_would_convert_are_read_as_written(place: Place) -> None:
    values = {
        "VERSION": "1.20",
        "PIN": "0123",
        "TIME": "12:30:45",
        "DAY": "2024-01-01",
        "PVP": "on",
        "HEX": "0x1F",
        "ID": "76561198000000000123",
        "PORT": "25565",
        "BIG": "1_000",
    }
    lines = "".join(f"    {name}: {value}\n" for name, value in values.items())
    path = place.directory / f"{A}.yaml"
    path.write_text(
        f"settings:\n  uuid: {A}\n  suspended: false\n  container: {{image: img}}\n  environment:\n{lines}    NOTHING: ~\n    YES: true\n",
        encoding="utf-8-sig",
    )
    assert dict(place.sources().definition(A).environment) == {**values, "NOTHING": "", "YES": "true"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the user")
@pytest.mark.parametrize("closed", ["directory", "file"])
def test_a_definition_without_read_permission_is_unreachable_and_not_missing(place: Place, closed: str) -> None:
    path = place.write(A, "Lobby")
    place.write(B, "Arena").chmod(0o644)
    place.directory.chmod(0o700 if closed == "directory" else 0o755)
    path.chmod(0o600)
    with as_nobody_below(place.directory):
        with pytest.raises(SourceUnreachable, match=r"Permission denied(; become root, or join the group that owns them)?$"):
            place.sources().definition(A)
        if closed == "file":
            assert place.sources().definition(B).server.name == "Arena"
            assert place.sources().listing.everything(START) == [Server(A), Server(B, "Arena")]
        else:
            sources = place.sources()
            assert sources.listing.everything(START) == []
            assert [str(error).endswith("join the group that owns them") for error in sources.listing.unlisted] == [True]


def test_stale_definitions_are_used_only_if_allowed(place: Place) -> None:
    place.keep(A, "Lobby")
    place.directory.rmdir()
    place.directory.write_text("", encoding="utf-8")
    with pytest.raises(SourceUnreachable):
        place.sources().definition(A)
    sources = place.sources(allow_stale=True)
    assert sources.definition(A).server.name == "Lobby"
    assert "the last definition seen is used" in sources.warnings[0]
    with pytest.raises(SourceUnreachable):
        sources.definition(B)


def test_a_stop_uses_task_then_directory_then_kept_definition(place: Place) -> None:
    assert place.sources().definition_for_stop(A) is None

    def named(found: Definition | None) -> str:
        assert found is not None
        return found.server.name

    place.keep(A, "Kept")
    assert named(place.sources().definition_for_stop(A)) == "Kept"
    path = place.write(A, "Directory")
    assert named(place.sources().definition_for_stop(A)) == "Directory"
    assert named(place.sources(definition(A, "Task")).definition_for_stop(A)) == "Task"
    assert place.sources().task_definition(A) is None
    assert named(place.sources(definition(A, "Task")).task_definition(A)) == "Task"
    path.write_text("{", encoding="utf-8")
    broken = place.sources(definition(A, suspended="perhaps"))
    assert named(broken.definition_for_stop(A)) == "Kept"
    assert broken.task_definition(A) is None
    assert len(broken.warnings) == 2


def test_a_kept_definition_is_for_the_group_only_and_reads_back_unchanged(place: Place) -> None:
    before = os.umask(0o000)
    try:
        sources = place.sources(definition(A, "Lobby", environment={"Z": "\u2603", "A": "1", "N": 5}))
        given = sources.definition(A)
        sources.keep(given)
    finally:
        os.umask(before)
    assert mode_of(place.kept(A)) == 0o660
    assert mode_of(place.state / "definitions") == 0o700
    assert place.sources().definition_for_stop(A) == given
    assert os.listdir(place.state / "definitions") == [f"{A}.json"]


def test_a_kept_definition_never_follows_a_link_and_never_raises(place: Place) -> None:
    place.keep(B)
    canary = place.directory.parent / "canary"
    planted = json.dumps({"schema": 1, **definition(A, "Planted")})
    canary.write_text(planted, encoding="utf-8")
    place.kept(A).symlink_to(canary)
    assert place.sources().definition_for_stop(A) is None
    assert place.sources().search.identify(A, KILL).name == ""
    place.keep(A)
    assert canary.read_text(encoding="utf-8") == planted
    assert not place.kept(A).is_symlink()
    place.kept(A).unlink()
    place.kept(A).mkdir()
    sources = place.sources(definition(A))
    sources.keep(sources.definition(A))
    assert len(sources.warnings) == 1
    assert sources.warnings[0].startswith(f"Cannot keep the definition of server {A} in ")
    assert sorted(os.listdir(place.state / "definitions")) == sorted([f"{A}.json", f"{B}.json"])


def test_a_kept_definition_of_a_newer_version_is_ignored_with_a_warning(place: Place) -> None:
    place.keep(A, "Lobby")
    newer = {**json.loads(place.kept(A).read_text(encoding="utf-8")), "schema": 2}
    place.kept(A).write_text(json.dumps(newer), encoding="utf-8")
    sources = place.sources()
    assert sources.definition_for_stop(A) is None
    assert "another version" in sources.warnings[0]
