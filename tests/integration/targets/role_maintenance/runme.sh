#!/usr/bin/env bash
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -eux
# It is no state that is reached, but work that is done each time.
../setup_four_calls/with_servers.sh maintain.yml some some some some
