# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for firewalls on a node: they keep rules as the real ones do, each in a file, and block no traffic."""

from __future__ import annotations

import shlex

from .nodes import Node

_PLACE = "/usr/local/sbin"
_RULES = "/run/firewall-"
#: `ufw` prints comments in quotes and takes them without quotes. It deletes a rule without its comment.
_UFW = f"""#!/bin/sh
set -eu
case "$1 $2" in
    'show added') echo 'Added user rules (see ...):' && sed 's/^/ufw allow /' {_RULES}ufw ;;
    'delete allow') shift 2 && grep -vF "$* comment '" {_RULES}ufw >{_RULES}new; mv {_RULES}new {_RULES}ufw ;;
    'allow from') shift && echo "$1 $2 $3 $4 $5 $6 $7 $8 $9 '${{10}}'" >>{_RULES}ufw ;;
    *) exit 2 ;;
esac
"""
_FIREWALL_CMD = f"""#!/bin/sh
set -eu
file={_RULES}now
if [ "${{2:-}}" = --permanent ]; then file={_RULES}permanent; fi
case $1 in
    --list-rich-rules) cat $file ;;
    --add-rich-rule=*) echo "${{1#*=}}" >>$file ;;
    --remove-rich-rule=*) grep -vxF "${{1#*=}}" $file >$file.new; mv $file.new $file ;;
    *) exit 2 ;;
esac
"""


class StandIns:
    def __init__(self, node: Node) -> None:
        self._node = node
        for name, script in (("ufw", _UFW), ("firewall-cmd", _FIREWALL_CMD)):
            node.ssh(f"printf %s {shlex.quote(script)} >{_PLACE}/{name} && chmod 0755 {_PLACE}/{name}")

    def keep(self, kind: str, *rules: str) -> None:
        """Set the rules: of ``ufw``, or of firewalld as ``now`` or ``permanent``."""
        lines = "".join(f"{rule}\n" for rule in rules)
        self._node.ssh(f"printf %s {shlex.quote(lines)} >{_RULES}{kind}")

    def rules(self, kind: str) -> list[str]:
        return self._node.ssh(f"cat {_RULES}{kind}").splitlines()

    def remove(self) -> None:
        self._node.ssh(f"rm -f {_PLACE}/ufw {_PLACE}/firewall-cmd {_RULES}*")
