# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rolling run as an HTML page. Values are plain and bounded; the template escapes them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..._power.model.schema import one_line
from ..rollout import report
from ..rollout.record import Record, Row, outcome_words
from ..rollout.report import downtime_of, moment_of
from ..rollout.times import batch_name, servers_of_rows, span
from ..rollout.values import NOT_DONE
from ..table import plural
from .timelines import DOWN_WORDS, MANY, WORDS, Live, TimedLine, Timeline, by_node, longest_down, slowest, timelines

#: Seconds after which the page of an unfinished rolling run reloads.
REFRESH_SECONDS = 5
_NAME, _MESSAGE, _SHORT_MESSAGE, _LINE = 60, 500, 120, 200
#: The number of failures with details and a log; further ones get one line.
_AT_LENGTH = 50
_BATCHES, _NODES, _TOP, _NAMES = 100, 500, 10, 50
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shown:
    """One state of the page: the time, the current step, how to resume (`report.parts_of_going_on`), and the live news."""

    now: datetime
    doing: str = ""
    going_on: Sequence[str] = ()
    #: About how many seconds are left.
    left: float | None = None
    live: Live = field(default_factory=dict)
    #: At the end.
    result: Mapping[str, Any] | None = None


def view(record: Record, shown: Shown) -> dict[str, Any]:
    kind, verdict = _verdict(record, shown)
    lines, left_out, clocks = timelines(record, shown.live, shown.now)
    counts = report.counts(record)
    return {
        "title": f"{verdict}: {record.action}, run {record.run}",
        "action": record.action,
        "run": record.run,
        "servers": plural(counts["selected"], "server"),
        "kind": kind,
        "verdict": verdict,
        "summary": one_line(report.summary(record), 1000),
        "refresh": None if shown.result is not None else REFRESH_SECONDS,
        "tiles": _tiles(record, counts),
        "facts": _facts(record, shown),
        "going_on": shown.going_on,
        **_failures(record),
        **_left(record),
        **_batches(record, shown),
        "timelines": [_timeline(each) for each in lines],
        "selection": _selection(left_out),
        "legend": _legend(lines),
        "slowest": [{**_who(row), "text": span(row.seconds or 0)} for row in slowest(record, _TOP)],
        "longest_down": [{**_who(row), "text": _down_words(row)} for row in longest_down(record, _TOP)],
        **_nodes(record, counts),
        "clocks": [{"node": one_line(node, _NAME), "text": span(seconds)} for node, seconds in sorted(clocks.items())][:_NAMES],
    }


def _verdict(record: Record, shown: Shown) -> tuple[str, str]:
    if shown.result is None:
        if record.stopped:
            return "bad", "Stops"
        return ("warn" if record.failures else "going"), "Goes on"
    if shown.result.get("ok"):
        return "good", "Ended well"
    return "bad", "Did not end well"


def _tiles(record: Record, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    failed = record.failures
    tiles = [{"value": str(failed), "label": f"failures, {record.budget} allowed", "kind": "bad" if failed > record.budget else ""}]
    for name in ("done", "unchanged", "failed", "refused", "cancelled", "unknown", "skipped"):
        if counts[name] or name == "done":
            bad = name in ("failed", "refused", "cancelled", "unknown")
            tiles.append({"value": str(counts[name]), "label": name, "kind": "bad" if bad else ""})
    for name, label in (("for_players", "skipped for players"), ("frozen", "frozen")):
        if counts[name]:
            tiles.append({"value": str(counts[name]), "label": label, "kind": "warn"})
    waiting = counts[NOT_DONE] - counts["for_players"] - counts["frozen"]
    if waiting:
        tiles.append({"value": str(waiting), "label": "not done yet" if not record.stopped else "not done", "kind": ""})
    return tiles


def _facts(record: Record, shown: Shown) -> list[tuple[str, str]]:
    began, down = moment_of(record.began_at), downtime_of(record)
    took = "" if began is None else span((shown.now - began).total_seconds())
    left = f", about {span(shown.left)} left" if shown.left is not None else ""
    worst = f"{down['seconds'] / down['servers']:.1f} s on the average, {down['longest']:.1f} s at most" if down["servers"] else ""
    facts = [
        ("Now", one_line(shown.doing, _MESSAGE)),
        ("Stopped", one_line(record.stopped, _MESSAGE)),
        ("Asked by", one_line(record.by, _LINE)),
        ("Reason", one_line(record.reason, _MESSAGE)),
        ("Began", _moment(began)),
        ("Took" if shown.result is not None else "So far", f"{took}{left}"),
        ("Window", _window(record)),
        ("Down", f"{worst}, of {plural(down['servers'], 'server')}" if worst else ""),
        ("Ended" if shown.result is not None else "Renewed", _moment(shown.now)),
    ]
    return [(name, value) for name, value in facts if value]


def _window(record: Record) -> str:
    bounds = [("from ", record.not_before), ("until ", record.deadline)]
    return ", ".join(f"{word}{_moment(moment_of(text))}" for word, text in bounds if text)


def _failures(record: Record) -> dict[str, Any]:
    failed = [*record.failed_before, *(row for row in record.rows if row.is_failure)]
    whole = [
        {**_failure(row, _MESSAGE), "down_words": _down_words(row), "log": [one_line(str(line), _LINE) for line in row.log]}
        for row in failed[:_AT_LENGTH]
    ]
    return {"failures": whole, "more_failures": [_failure(row, _SHORT_MESSAGE) for row in failed[_AT_LENGTH:]]}


def _failure(row: Row, longest: int) -> dict[str, Any]:
    return {**_who(row), "outcome": row.outcome, "code": one_line(row.code, _NAME), "msg": one_line(row.msg, longest)}


def _left(record: Record) -> dict[str, Any]:
    waiting = [row for row in record.rows if row.outcome == NOT_DONE and row.server is not None]
    players = [row for row in waiting if row.left]
    others = [row for row in waiting if record.stopped and not row.left]
    return {
        "players": [_failure(row, _SHORT_MESSAGE) for row in players[:_NAMES]],
        "more_players": max(len(players) - _NAMES, 0),
        "others": [_who(row) for row in others[:_NAMES]],
        "more_others": max(len(others) - _NAMES, 0),
    }


def _batches(record: Record, shown: Shown) -> dict[str, Any]:
    times = {number: (moment_of(began), moment_of(ended)) for number, began, ended in record.batch_times}
    rows: dict[int, list[Row]] = {}
    for row in record.rows:
        rows.setdefault(row.batch, []).append(row)
    numbers = [number for number in range(1, record.batches + 1) if rows.get(number)]
    if len(numbers) > _BATCHES:
        bad = [number for number in numbers if any(row.is_failure for row in rows[number])][: _BATCHES // 2]
        near = [number for number in numbers if number > record.begun - _BATCHES // 2][: _BATCHES // 2]
        chosen = sorted({*bad, *near})
    else:
        chosen = numbers
    return {
        "batches": [_batch(record, number, rows[number], times.get(number), shown) for number in chosen],
        "more_batches": len(numbers) - len(chosen),
    }


def _batch(
    record: Record, number: int, rows: Sequence[Row], times: tuple[datetime | None, datetime | None] | None, shown: Shown
) -> dict[str, Any]:
    began, ended = times or (moment_of(record.batch_began_at) if number == record.begun else None, None)
    took = "" if began is None else span(((ended or shown.now) - began).total_seconds())
    over = shown.result is not None
    if times:
        words = outcome_words(rows)
    elif number == record.begun:
        words = "cut off" if over else "under way"
    else:
        words = "not begun" if over or record.stopped else "to come"
    return {
        "name": batch_name(record, number),
        "who": one_line(servers_of_rows(rows), _LINE),
        "began": "" if began is None else _clock(began),
        "took": took,
        "words": words,
        "kind": "bad" if any(row.is_failure for row in rows) else "good" if times else "",
    }


def _timeline(found: Timeline) -> dict[str, Any]:
    return {
        "name": found.name,
        "began": _clock(found.began),
        "ended": _clock(found.ended),
        "span": span((found.ended - found.began).total_seconds()),
        "rows": [_timed_row(each) for each in found.lines],
    }


def _timed_row(timed: TimedLine) -> dict[str, Any]:
    row = timed.row
    return {
        **_who(row),
        "bars": timed.bars,
        "down": timed.down,
        "label": "; ".join(each.title for each in (*timed.bars, *timed.down)),
        "took": f"{span(timed.seconds)}{' so far' if timed.goes_on else ''}",
        "down_words": _down_words(row),
        "outcome": "under way" if timed.goes_on else row.outcome.replace("_", " "),
        "kind": "bad" if row.is_failure and not timed.goes_on else "",
    }


def _legend(batches: Sequence[Timeline]) -> list[dict[str, str]]:
    lines = [line for batch in batches for line in batch.lines]
    bars = {each.kind for line in lines for each in line.bars}
    down = {each.kind for line in lines for each in line.down}
    entries = [{"kind": kind, "words": words, "thin": ""} for kind, words in WORDS.items() if kind in bars]
    return [*entries, *({"kind": kind, "words": words, "thin": "thin"} for kind, words in DOWN_WORDS.items() if kind in down)]


def _selection(left_out: int) -> str:
    if not left_out:
        return ""
    return (
        f"Of more than {MANY} servers, those that failed, those under way and the slowest have a row; {plural(left_out, 'other')} "
        "are summed up by node."
    )


def _nodes(record: Record, counts: Mapping[str, int]) -> dict[str, Any]:
    found = by_node(record) if counts["selected"] > MANY else []
    return {
        "nodes": [{**each, "node": one_line(each["node"], _NAME)} for each in found[:_NODES]],
        "more_nodes": max(len(found) - _NODES, 0),
    }


def _who(row: Row) -> dict[str, str]:
    server = row.server or ""
    return {
        "name": one_line(row.name or server or "all servers", _NAME),
        "short": one_line(server[:8], _NAME) if row.name else "",
        "node": one_line(row.node or "no node", _NAME),
    }


def _down_words(row: Row) -> str:
    seconds, ready = row.downtime.get("seconds"), row.downtime.get("ready_seconds")
    if seconds is None:
        since = moment_of(row.downtime.get("from"))
        return "" if since is None else f"down since {_clock(since)}"
    return f"down {seconds:.1f} s" + ("" if ready is None else f", ready after {ready:.1f} s")


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")


def page(record: Record, shown: Shown) -> str:
    return str(_template().render(view(record, shown)))


@lru_cache(maxsize=1)
def _template() -> Any:
    # Ansible requires jinja2.
    from jinja2 import Environment
    from markupsafe import Markup

    style = (_HERE / "page.css").read_text()
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False)
    # The page allows only this style sheet, by its hash.
    environment.globals.update(style=Markup(style), style_hash=f"sha256-{style_hash}")
    return environment.from_string((_HERE / "page.html.j2").read_text())
