#!/usr/bin/env bash
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# with_servers.sh ARGUMENT...: makes servers by the target setup_servers, runs four_calls.sh, and removes the servers.
set -euo pipefail
# The first playbook makes the directory on the machine with the engine.
SETUP_SERVERS_DIR=$(mktemp --dry-run --directory /tmp/fleet-power-XXXXXX)
export SETUP_SERVERS_DIR
trap '../setup_four_calls/play.sh ../setup_four_calls/remove.yml' EXIT
../setup_four_calls/play.sh ../setup_four_calls/prepare.yml
../setup_four_calls/four_calls.sh "$@"
