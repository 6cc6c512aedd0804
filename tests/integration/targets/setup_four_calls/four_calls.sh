#!/usr/bin/env bash
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# four_calls.sh PLAYBOOK CHECK DO AGAIN CHECK_AGAIN: runs a target's playbook four times: in check mode, for real, for real again, in check mode
# again. four_calls_number is the number of the call. Each argument is the expected number of changes of testhost: some or none.
set -euo pipefail
playbook=$1
shift
modes=(--check '' '' --check)
said=$(mktemp)
trap 'rm -f "$said"' EXIT
for number in 1 2 3 4; do
    echo "##### call $number: ${modes[number - 1]:-for real}"
    # shellcheck disable=SC2086 # nothing, or one word
    ../setup_four_calls/play.sh "$playbook" ${modes[number - 1]} -e "four_calls_number=$number" | tee "$said"
    changed=$(sed -nE 's/^testhost +:.* changed=([0-9]+) .*/\1/p' "$said")
    if [ -z "$changed" ]; then
        echo "call $number: no recap of testhost" >&2
        exit 1
    fi
    if [ "$changed" = 0 ]; then found=none; else found=some; fi
    if [ "$found" != "$1" ]; then
        echo "call $number: expected changes: $1; found $changed" >&2
        exit 1
    fi
    shift
done
