#!/usr/bin/env bash
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
set -eux
# The role works each time, so no call is without changes.
../setup_four_calls/with_servers.sh maintain.yml some some some some
