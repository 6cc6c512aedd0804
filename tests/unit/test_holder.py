# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text form of the holder record: long values fit, and damaged text reads as no record."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_id, lives, start_of
from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import (
    BLANK,
    RECORD_SIZE,
    EndedHere,
    Holder,
    Leftover,
    decode,
    encode,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.tests.unit.lock_support import FORK
from hypothesis import example, given, settings
from hypothesis import strategies as st

RUN = Run("c" * 64, "2026-01-01T00:00:00.123456789Z")
LEFTOVER = Leftover(Phase.START, RUN, "restart", "0" * 36, "alice@web1", "2026-01-01T00:00:00.000Z")
FULL = Holder(
    pid=4_194_303,
    pid_start=123_456_789_012,
    boot_id="b" * 36,
    operation="1" * 36,
    action="restart",
    phase="preboot",
    since="2026-01-01T00:00:00.000Z",
    origin="alice@web1",
    reason="new world",
    phase_deadline="2026-01-01T00:10:00.000Z",
    phase_since="2026-01-01T00:00:00.000Z",
    run=RUN,
    leftover=LEFTOVER,
    released=True,
)
BARE = Holder(pid=1, pid_start=0, boot_id="", operation="", action="", phase="", since="")


def text_of(fields: object) -> bytes:
    """A record of any content with a valid checksum."""
    body = json.dumps(fields, separators=(",", ":")).encode()
    return body[:-1] + b',"check":"%08x"}' % zlib.crc32(body)


def fields_of(holder: Holder) -> dict[str, object]:
    fields: dict[str, object] = json.loads(encode(holder))
    del fields["check"]
    return fields


@pytest.mark.parametrize("holder", [FULL, BARE], ids=["full", "bare"])
def test_a_record_reads_back_as_it_was_written(holder: Holder) -> None:
    text = encode(holder)
    assert len(text) == RECORD_SIZE
    assert decode(text) == holder


@settings(database=None)
@given(origin=st.text(), reason=st.text(), left=st.text(), times=st.sampled_from([1, 40, 3000]))
@example(origin="\x00", reason='"\\', left="\U0001f600", times=3000)
@example(origin="\udcff", reason="\ud800", left="", times=1)
def test_a_record_fits_any_origin_and_reason_and_keeps_their_beginning(origin: str, reason: str, left: str, times: int) -> None:
    holder = replace(FULL, origin=origin * times, reason=reason * times, leftover=replace(LEFTOVER, origin=left * times))
    read = decode(encode(holder))
    assert read is not None
    assert len(encode(holder)) == RECORD_SIZE
    for kept, whole in ((read.origin, origin), (read.reason, reason)):
        assert (whole * times).encode("utf-8", "replace").decode().startswith(kept)
    assert read.run == RUN
    assert read.leftover is not None
    assert read.leftover.run == RUN


def test_a_record_that_is_cut_uses_its_whole_size() -> None:
    assert len(encode(replace(FULL, origin="x" * 3000, reason="y" * 3000)).rstrip()) > RECORD_SIZE - 4


def test_a_field_that_is_too_long_and_cannot_be_cut_is_an_error() -> None:
    with pytest.raises(ValueError, match="too long"):
        encode(replace(FULL, operation="x" * RECORD_SIZE))


def test_a_mixture_of_two_records_is_never_a_third_record() -> None:
    one = encode(replace(FULL, origin="alice@web1", pid=1111))
    two = encode(replace(FULL, origin="bobby@web2", pid=2222))
    for place in range(RECORD_SIZE + 1):
        mixture = one[:place] + two[place:]
        assert decode(mixture) in (None, decode(one), decode(two))
        assert decode(one[:place] + BLANK[place:]) in (None, decode(one))


@settings(database=None)
@given(st.binary(max_size=RECORD_SIZE))
@example(BLANK)
@example(b"\0" * RECORD_SIZE)
@example(b"[" * RECORD_SIZE)
def test_damaged_bytes_decode_to_no_record_without_an_error(raw: bytes) -> None:
    assert decode(raw) is None


@pytest.mark.parametrize("fields", [None, 7, [], {}, {"schema": 1}, "x"])
def test_a_valid_checksum_alone_makes_no_record(fields: object) -> None:
    assert decode(text_of(fields)) is None


def test_deep_nesting_makes_no_record() -> None:
    body = b"[" * 500 + b"]" * 500
    assert decode(body[:-1] + b',"check":"%08x"}' % zlib.crc32(body[:-1] + b"}")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"pid": "1"},
        {"pid": True},
        {"pid": -1},
        {"pid": 1.5},
        {"pid_start": None},
        {"schema": 2},
        {"schema": "1"},
        {"generation": None},
        {"origin": 7},
        {"run": []},
        {"run": {"container": 7, "started_at": ""}},
        {"leftover": {"phase": "dance", "run": {}}},
        {"leftover": {"phase": "start"}},
    ],
    ids=str,
)
def test_a_wrong_field_type_or_another_schema_makes_no_record(change: dict[str, object]) -> None:
    assert decode(text_of(fields_of(FULL))) == FULL
    assert decode(text_of({**fields_of(FULL), **change})) is None


@pytest.mark.parametrize(
    ("phase", "carried", "counts"),
    [
        (Phase.START, Phase.STOP, "own"),
        (Phase.STOP, Phase.START, "carried"),
        (Phase.STOP, Phase.STOP, "own"),
        (Phase.PREBOOT, Phase.START, "carried"),
    ],
)
def test_an_unfinished_start_counts_first_and_otherwise_the_later_phase(phase: Phase, carried: Phase, counts: str) -> None:
    left = replace(FULL, phase=phase.value, leftover=replace(LEFTOVER, phase=carried)).unfinished(ended=True)
    assert left is not None
    assert left.operation == (FULL.operation if counts == "own" else LEFTOVER.operation)


def test_the_sentence_names_action_origin_phase_deadline_and_begin() -> None:
    assert replace(FULL, phase="stop", pid=123).sentence() == (
        "restart by alice@web1 (phase stop until 2026-01-01T00:10:00.000Z, since 2026-01-01T00:00:00.000Z, pid 123)"
    )
    assert replace(FULL, origin="", phase_deadline=None).sentence().startswith("restart (phase preboot, since ")


def test_a_process_lives_only_with_the_same_start_time_and_boot() -> None:
    me, start = os.getpid(), start_of(os.getpid())
    assert start > 0
    assert lives(me, start, boot_id())
    assert not lives(me, start + 1, boot_id())
    assert not lives(me, start, "another boot")
    assert not lives(2**40, start, boot_id())


def test_a_zombie_process_does_not_live() -> None:
    gate = FORK.Event()
    child = FORK.Process(target=gate.wait)
    child.start()
    pid = child.pid
    assert pid is not None
    start = start_of(pid)
    assert lives(pid, start, boot_id())
    gate.set()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not lives(pid, start, boot_id())
    child.join(10)


#: An ended run in a record with all other fields, each as long as possible.
ENDED = EndedHere(Run("e" * 64, "2026-12-31T23:59:59.123456789Z"), "restart", generation=10**9, origin="alice@web1", ended_it=True)
LONGEST = replace(FULL, generation=10**9, leftover=replace(LEFTOVER, generation=10**9), ended=ENDED)


@settings(database=None)
@given(origin=st.text(), reason=st.text(), times=st.sampled_from([1, 40, 3000]))
def test_a_full_record_keeps_the_complete_ended_run(origin: str, reason: str, times: int) -> None:
    longest = replace(LONGEST, origin=origin * times, reason=reason * times, ended=replace(ENDED, origin=origin * times))
    text = encode(longest)
    found = decode(text)
    assert len(text) == RECORD_SIZE and found is not None and found.ended is not None
    assert replace(found.ended, origin="") == replace(ENDED, origin="")
    assert (found.run, found.leftover and found.leftover.run) == (RUN, RUN)


@pytest.mark.parametrize("ended_it", [True, False])
@pytest.mark.parametrize("action", ["stop", "kill", "restart"])
def test_an_ended_run_reads_back_as_it_was_written(action: str, ended_it: bool) -> None:
    carried = replace(BARE, released=True, ended=replace(ENDED, action=action, ended_it=ended_it))
    assert decode(encode(carried)) == carried


@pytest.mark.parametrize("ended", [None, [], "x", {}, {"run": RUN.container, "action": "stop"}, {"run": {}, "action": 3}])
def test_an_ended_run_of_a_wrong_type_makes_no_record(ended: object) -> None:
    assert decode(text_of({**fields_of(FULL), "ended": ended})) is None


@pytest.mark.parametrize(
    "holder, run",
    [
        (replace(BARE, ended=ENDED), ENDED.run),
        (replace(BARE, phase="stop", run=RUN, ended=ENDED), RUN),
        (replace(BARE, leftover=replace(LEFTOVER, phase=Phase.STOP), ended=ENDED), RUN),
        (replace(BARE, phase="start", run=RUN, ended=ENDED), ENDED.run),
        (replace(BARE, phase="start", run=RUN), None),
        (BARE, None),
    ],
)
def test_the_ended_run_of_a_stop_counts_before_a_carried_run(holder: Holder, run: Run | None) -> None:
    found = holder.ended_here()
    assert (None if found is None else found.run) == run
