# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs in the journal: the last one of each server. The first proof makes the table; earlier versions ignore it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..model.proof import Proof, ProofEnd
from ..model.records import asdict, replace
from ..model.schema import parsed_json
from ..model.server import parse_uuid
from .schema import PROVING, Connection, insertion, replacing, shortened, storable, text, value_of
from .store import JournalStore, each_of

_COLUMNS = ("uuid", "operation", "at", "ended", "proof")
_DEEPEST = 4
_LISTS = ("differs", "log", "restored", "not_restored")
_SET = f"{insertion('proving', _COLUMNS)} ON CONFLICT (uuid) {replacing(_COLUMNS)}"
#: The ended proof that a new one replaces. If nothing is tried, it comes back.
_KEEP = f"""UPDATE proving SET earlier = CASE WHEN ended = '{ProofEnd.OPEN.value}' THEN '' ELSE proof END
    WHERE uuid = :uuid AND operation <> :operation"""
_EARLIER = "SELECT earlier FROM proving WHERE uuid = :uuid"
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'proving'"
_OF_EACH = "SELECT * FROM proving WHERE uuid IN ({holes})"
_IN_ORDER = "SELECT * FROM proving WHERE ended IN ({holes}) ORDER BY at"
#: Only while it is open: the proof of another action may have replaced it.
_CHANGE = (
    f"UPDATE proving SET ended = :ended, proof = :proof WHERE uuid = :uuid AND operation = :operation AND ended = '{ProofEnd.OPEN.value}'"
)
_CLOSE_DUE = "UPDATE ended_runs SET due = 0, code = '', msg = '' WHERE container = ? AND started_at = ? AND due"


class Proofs:
    """The last proof of each server. Thread-safe."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def begin(self, proof: Proof) -> None:
        """Write a new proof in the place of an earlier one, synced to the disk. Raises `JournalUnusable`, OSError."""

        def work(connection: Connection) -> None:
            connection.execute(PROVING)
            connection.execute(_KEEP, _parameters(proof))
            connection.execute(_SET, _parameters(proof))

        self._store.write_durably(work)

    def note(self, proof: Proof, *, durable: bool = False) -> bool:
        """Write what is new of an open proof; ``durable``: synced. Return False, with a warning, if it cannot be written."""
        return self._store.write(lambda connection: connection.execute(_CHANGE, _parameters(proof)), durable=durable)

    def close(self, proof: Proof) -> None:
        """Write the end of an open proof, synced; cancel the due start of a failed version. Raises `JournalUnusable`, OSError."""

        def work(connection: Connection) -> None:
            written = connection.execute(_CHANGE, _parameters(proof)).rowcount
            if written == 1 and proof.ended in (ProofEnd.REVERTED, ProofEnd.LEFT_DOWN):
                connection.execute(_CLOSE_DUE, (proof.container, proof.started_at))
            if written == 1 and proof.ended is ProofEnd.VOID and not proof.tried:
                _bring_back(connection, proof)

        self._store.write_durably(work)

    def of(self, uuid: str) -> Proof | None:
        """Return the last proof of a server, or None. Raises `JournalUnusable`, OSError."""
        found: list[Proof] = self._store.read_or_raise(lambda connection: _found(connection, _OF_EACH, [uuid]), [])
        return next(iter(found), None)

    def of_each(self, uuids: Iterable[str]) -> dict[str, Proof] | None:
        """Return the last proof of each server that has one. None, with a warning, if the journal cannot be read."""
        wanted = list(uuids)
        nothing: list[Proof] = []
        found = self._store.read_if_known(lambda connection: _found(connection, _OF_EACH, wanted), nothing)
        return None if found is None else {proof.uuid: proof for proof in found}

    def open(self) -> list[Proof]:
        """Return the open proofs, the oldest first. Raises `JournalUnusable`, OSError."""
        found: list[Proof] = self._store.read_or_raise(lambda connection: _found(connection, _IN_ORDER, [ProofEnd.OPEN.value]), [])
        # The group can write the journal.
        return [proof for proof in found if proof.is_open and parse_uuid(proof.uuid) == proof.uuid]


def _found(connection: Connection, statement: str, keys: Sequence[str]) -> list[Proof]:
    return [_proof(row) for row in each_of(connection, statement, keys)] if connection.execute(_EXISTS).fetchone() else []


def _parameters(proof: Proof) -> dict[str, Any]:
    kept = asdict(replace(proof, msg=shortened(proof.msg)))
    return {**kept, "ended": proof.ended.value, "proof": storable(json.dumps(kept))}


def _bring_back(connection: Connection, proof: Proof) -> None:
    """Put the ended proof that this one replaced in its place again."""
    earlier = _loaded(connection.execute(_EARLIER, {"uuid": proof.uuid}).fetchone()["earlier"])
    if earlier:
        row = {name: str(earlier.get(name, "")) for name in ("operation", "at", "ended")}
        connection.execute(_SET, _parameters(_proof({**row, "uuid": proof.uuid, "proof": json.dumps(earlier)})))


def _proof(row: Mapping[str, Any]) -> Proof:
    """Return the proof of a row. Missing or damaged values are empty. A row with an unknown end, or without its container, is not open."""
    given = {name: text(row[name]) for name in ("uuid", "operation", "at")}
    known = {**asdict(Proof(given["uuid"], "", given["operation"], given["at"])), **_loaded(row["proof"])}
    lists = {name: tuple(map(str, known[name])) if isinstance(known[name], list) else () for name in _LISTS}
    is_known = row["ended"] in [each.value for each in ProofEnd]
    found = value_of(Proof, known, ended=ProofEnd(row["ended"]) if is_known else ProofEnd.FAILED, **given, **lists)
    return found if found.previous or not found.is_open else replace(found, ended=ProofEnd.FAILED)


def _loaded(content: object) -> dict[str, Any]:
    found = parsed_json(str(content), _DEEPEST)
    return found if isinstance(found, dict) else {}
