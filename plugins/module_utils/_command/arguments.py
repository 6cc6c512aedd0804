# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the command ``fleet-power``: its subcommands and options, for the parser, the completion and the manual."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .._fleet.rollout.times import read_moment
from .._fleet.rollout.values import RolloutError
from .._power.model.option import Option
from .._power.model.request import PowerAction
from .._power.options import POWER_OPTIONS
from .._service import whole_number

PROGRAM = "fleet-power"
#: Options of start, stop, restart and kill: those of the module server_power, each with its help.
ACT_HELP: Mapping[str, str] = {
    "reason": "why; the journal and notifications show it",
    "only": "act only on servers in this state; repeat it",
    "if_meant_up": "act only on servers that should be up",
    "outdated": "act only on servers with an outdated container",
    "retry_reverted": "with --outdated: also what was reverted before",
    "wait_for": "when a server counts as up",
    "wait_timeout": "seconds to wait for that",
    "on_failed_start": "leave a failed start, or revert it",
    "settle": "seconds that a new version must stay up",
    "stop_timeout": "seconds until SIGKILL",
    "players_at_most": "wait until at most so many play",
    "max_delay": "wait for players at most so many seconds",
    "on_max_delay": "what happens then",
    "warn": "warn players so many seconds before; repeat it",
    "warn_message": "the text of the warning",
    "wait_seconds": "seconds to wait for another action's lock",
    "max_parallel": "servers at a time",
    "max_failures": "begin nothing new after more failures",
    "in_order": "act in the order of priorities",
    "stagger": "seconds between two starts",
    "adopt": "replace a container that another program made",
    "once": "act once under this key",
    "origin": "who asks; your user name",
    "config": "settings; default /etc/fleet-power/config.yml",
    "definitions_dir": "the directory of definitions",
}
#: Too rare for the help that fits a screen. The manual has them.
RARE = {
    *("on_max_delay", "warn_message", "max_parallel", "max_failures", "in_order", "stagger", "once", "origin", "definitions_dir"),
    *("settle", "retry_reverted", "adopt"),
}
_OF_BOOTS = frozenset(("if_meant_up", "wait_for", "wait_timeout", "on_failed_start", "settle", "adopt"))
_OF_RESTARTS = frozenset(("outdated", "retry_reverted"))
_OF_PLAYERS = frozenset(("players_at_most", "max_delay", "on_max_delay", "warn", "warn_message", "stop_timeout"))


#: The summary of each subcommand, and the number of its names: 1, ``*`` or ``+``.
COMMANDS: Mapping[str, tuple[str, str | int]] = {
    "status": ("show servers, all without NAME: state, players, last operation", "*"),
    "why": ("explain the state of a server, and say what to do", "+"),
    "start": ("start servers", "+"),
    "stop": ("stop servers; SIGKILL after 10 minutes by default", "+"),
    "restart": ("restart servers", "+"),
    "kill": ("end servers at once by SIGKILL; it does not ask", "+"),
    "log": ("show the output of a server", 1),
    "freeze": ("forbid starts and restarts until a time, of all without NAME", "*"),
    "thaw": ("end the freeze of the node, or of servers", "*"),
    "define": ("print a definition for a container of docker run", 1),
}


def parser(width: int = 80) -> argparse.ArgumentParser:
    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog, max_help_position=26, width=width)

    top = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [OPTION...] [NAME...]",
        description="Control the game servers of this node. NAME is a name, a UUID or its first 8 characters; "
        "all is every server, except for log.",
        epilog=f"{PROGRAM} COMMAND --help shows its main options, man {PROGRAM} all options.",
        formatter_class=formatter,
        allow_abbrev=False,
    )
    subcommands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands", prog=PROGRAM)
    for name, (summary, number) in COMMANDS.items():
        what = "CONTAINER" if name == "define" else "NAME"
        names = {1: what, "*": f"[{what}...]", "+": f"{what}..."}[number]
        one = subcommands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.{_INTERRUPTED if PowerAction.asked(name) else ''}",
            usage=f"{PROGRAM} {name} [OPTION...] {names}",
            formatter_class=formatter,
            allow_abbrev=False,
        )
        one.add_argument("names", metavar=what, nargs=number, help=argparse.SUPPRESS)
        _add_options(one, name)
        one.set_defaults(flags=list(one._option_string_actions))
    return top


def _add_options(one: argparse.ArgumentParser, name: str) -> None:
    action = PowerAction.asked(name)
    if action is not None:
        one.add_argument("--check", action="store_true", help="change nothing, and show what would happen")
        for option in of_action(action):
            _add_option(one, option, POWER_OPTIONS[option])
    else:
        one.add_argument("--config", metavar="PATH", help=ACT_HELP["config"])
    for flags, keywords in _OWN.get(name, ()):
        one.add_argument(*flags, **keywords)
    if name in _JSON:
        one.add_argument("--json", action="store_true", help="print JSON for programs")


def _moment(text: str) -> float:
    try:
        return read_moment("--until", text, time.time()) or 0.0
    except RolloutError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("Cannot use --until=")) from error


_LINES = whole_number(Option("int", least=0))
_INTERRUPTED = " Ctrl-C begins nothing new; what has begun is finished."
_JSON = ("status", "start", "stop", "restart", "kill", "freeze", "thaw")
_OWN: Mapping[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "status": (
        (("--watch",), {"action": "store_true", "help": "show it again every 2 seconds, until Ctrl-C"}),
        (("--names",), {"action": "store_true", "dest": "names_only", "help": argparse.SUPPRESS}),
        (("--plain",), {"action": "store_true", "help": "one sentence for each server, without a table and colours"}),
    ),
    "log": (
        (("-n", "--lines"), {"metavar": "N", "type": _LINES, "default": 100, "help": "the last N lines; default 100"}),
        (("-f", "--follow"), {"action": "store_true", "help": "go on with new lines, until the run ends or Ctrl-C"}),
    ),
    "freeze": (
        (("--until",), {"metavar": "TIME", "type": _moment, "required": True, "help": "06:00, or 2026-01-31T06:00; at most a week ahead"}),
        (("--reason",), {"metavar": "TEXT", "required": True, "help": "why; refused actions show it"}),
        (("--supervisor",), {"action": "store_true", "help": "the supervisor starts nothing either"}),
    ),
    "define": ((("--write",), {"action": "store_true", "help": "write it to the node's definitions; replace no file"}),),
}


def of_action(action: PowerAction) -> Iterable[str]:
    """Yield the names of an action's options, in the order of the help."""
    for name in ACT_HELP:
        is_of = name not in _OF_BOOTS or action.boots
        is_of = is_of and (name not in _OF_PLAYERS or action.traits.affects_players)
        if is_of and (name not in _OF_RESTARTS or action is PowerAction.RESTART):
            yield name


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _add_option(one: argparse.ArgumentParser, name: str, option: Option) -> None:
    """Add an option of a module to a parser. A list is an option that may be repeated."""
    default = "" if option.default is None or option.type == "bool" else f"; default {option.default}"
    keywords: dict[str, Any] = {"help": argparse.SUPPRESS if name in RARE else f"{ACT_HELP[name]}{default}"}
    if option.type == "bool":
        one.add_argument(flag_of(name), action="store_true", **keywords)
        return
    if option.type == "list":
        keywords["action"] = "append"
    is_number = "int" in (option.type, option.elements)
    metavar = "|".join(option.choices) or ("N" if is_number else "PATH" if option.type == "path" else "TEXT")
    kind = whole_number(option) if option.type == "int" else int if is_number else str
    one.add_argument(flag_of(name), metavar=metavar, type=kind, default=option.default, choices=option.choices or None, **keywords)
