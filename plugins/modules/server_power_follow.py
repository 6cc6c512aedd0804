#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for news of a job (``_job.py``), and prints what that printed once it has ended. It travels at each call: no imports of ours."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_power_follow
short_description: Wait for news of a power action that goes on
version_added: 1.0.0
author:
  - the fleet.power contributors
description:
  - Used by the action plugin of M(fleet.power.server_power) while an action takes longer than a moment. Not for tasks.
options:
  job:
    description: The directory of the job's files.
    type: path
    required: true
  offset:
    description: How much of its lines is known, in bytes.
    type: int
    default: 0
  patience:
    description: Seconds after which to answer though nothing has happened.
    type: float
    default: 10
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: none
  diff_mode:
    description: Will return details on what has changed.
    support: none
seealso:
  - module: fleet.power.server_power
"""

EXAMPLES = r"""
# Nobody asks for it in a task: server_power does, for itself.
- name: Restart a server, and be told what it is at
  fleet.power.server_power:
    server: 01234567-89ab-4cde-8f01-23456789abcd
    action: restart
"""

RETURN = r"""
fleet_lines:
  description: The lines since then, each a JSON object.
  type: list
  elements: str
  returned: always
  sample: ['{"server":"01234567-89ab-4cde-8f01-23456789abcd","action":"restart","phase":"stop"}']
fleet_offset:
  description: How much of its lines is known now.
  type: int
  returned: always
  sample: 81
fleet_live:
  description: Whether the job goes on. If not, everything else is what it returned.
  type: bool
  returned: always
  sample: true
"""

import fcntl
import json
import os
import select
import sys
import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

#: Seconds between two looks, and how long after the first news others are waited for.
_LOOK_SECONDS, _GATHER_SECONDS = 0.1, 0.5


class _Job:
    """The files of a job, as whoever waits for it sees them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def file(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def is_live(self) -> bool:
        with open(self.file("alive"), "rb") as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def news(self, offset: int) -> bytes:
        """The whole lines from an offset on."""
        with open(self.file("lines"), "rb") as lines:
            lines.seek(offset)
            found = lines.read()
        return found[: found.rfind(b"\n") + 1]

    def give_up(self) -> NoReturn:
        """Nobody reads: Ctrl-C, or a connection that broke. Nothing new is to begin."""
        with open(self.file("gone"), "w"):
            pass
        os._exit(3)

    def result(self) -> dict[str, Any]:
        """What it printed."""
        with open(self.file("rc")), open(self.file("out")) as out:
            result: dict[str, Any] = json.loads(out.read())
        return result


def wait(job: _Job, offset: int, patience: float) -> tuple[bytes, bool]:
    """Return the news since then, and whether the job goes on."""
    reader = select.poll()
    reader.register(1, 0)
    end, first = time.monotonic() + patience, None
    while True:
        os.utime(job.file("asked"))
        # Before the lines are read: no last line is lost.
        live = job.is_live()
        news, now = job.news(offset), time.monotonic()
        first = first or (now if news else None)
        if not live or now > end or (first and now - first > _GATHER_SECONDS):
            return news, live
        if any(event & (select.POLLERR | select.POLLHUP) for _descriptor, event in reader.poll(0)):
            job.give_up()
        time.sleep(_LOOK_SECONDS)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "path", "required": True},
            "offset": {"type": "int", "default": 0},
            "patience": {"type": "float", "default": 10},
        }
    )
    job, offset = _Job(module.params["job"]), module.params["offset"]
    try:
        news, live = wait(job, offset, module.params["patience"])
        told = {"fleet_lines": news.decode("utf-8", "replace").splitlines(), "fleet_offset": offset + len(news), "fleet_live": live}
        if live:
            module.exit_json(changed=False, **told)
        text = json.dumps({**job.result(), **told})
    except (OSError, ValueError):
        msg = "Cannot tell how the action ended: its process is gone; see server_power_info"
        module.fail_json(msg, code="interrupted", fleet_lines=[], fleet_offset=offset, fleet_live=False)
    sys.stdout.write(text)
    sys.stdout.flush()
    # Whatever else prints at an exit would make a second answer of it.
    os._exit(0)


if __name__ == "__main__":
    main()
