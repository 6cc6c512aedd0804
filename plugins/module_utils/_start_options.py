# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of the commands that start many servers, in order: `restore` and `supervisor`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ._power.model.option import Option
from ._power.model.request import WaitFor
from ._power.options import MAX_PARALLEL, STAGGER

_DEFAULT_STAGGER_SECONDS = 1


def start_options(program: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of such a command."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--config", metavar="FILE", help="the node's settings; /etc/fleet-power/config.yml")
    parser.add_argument(
        "--stagger",
        metavar="S",
        type=_whole_number(STAGGER),
        default=_DEFAULT_STAGGER_SECONDS,
        help="seconds between the beginnings of two servers; %(default)s",
    )
    parser.add_argument(
        "--max-parallel",
        metavar="N",
        type=_whole_number(MAX_PARALLEL),
        default=MAX_PARALLEL.default,
        help="servers at a time; 0, eight, or as many as there are processors",
    )
    waits = (WaitFor.CONTAINER.value, WaitFor.RUNNING.value)
    parser.add_argument("--wait-for", choices=waits, default=WaitFor.CONTAINER.value, help="when a server counts as up; %(default)s")
    return parser


def _whole_number(option: Option) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not option.holds(value):
            limit = "of 0 or more" if option.most is None else option.limit
            raise argparse.ArgumentTypeError(f"expected a whole number {limit}")
        return value

    return read
