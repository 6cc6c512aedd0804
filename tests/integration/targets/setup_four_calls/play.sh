#!/usr/bin/env bash
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# play.sh PLAYBOOK [OPTION...]: runs a target's playbook with the variables that ansible-test gives to a role target.
set -euo pipefail
config=../../integration_config.yml
if [ -e "$config" ]; then set -- "$@" -e "@$config"; fi
if [ -n "${SETUP_SERVERS_DIR:-}" ]; then set -- "$@" -e "setup_servers_dir=$SETUP_SERVERS_DIR"; fi
export ANSIBLE_FORCE_COLOR=false ANSIBLE_NOCOLOR=true ANSIBLE_ROLES_PATH=$PWD/..
exec ansible-playbook -i "$INVENTORY_PATH" -e "output_dir=$OUTPUT_DIR" "$@"
