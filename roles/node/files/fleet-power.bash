# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
_fleet_power() {
  local words= name current="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W 'status why start stop restart kill log freeze thaw define' -- "$current")
    return
  fi
  case "${COMP_WORDS[1]}" in
    status) words='-h --help --config --watch --plain --json' ;;
    why) words='-h --help --config' ;;
    start) words='-h --help --check --reason --only --if-meant-up --wait-for --wait-timeout --on-failed-start --settle --wait-seconds --max-parallel --max-failures --in-order --stagger --adopt --once --origin --config --definitions-dir --json' ;;
    stop) words='-h --help --check --reason --only --stop-timeout --players-at-most --max-delay --on-max-delay --warn --warn-message --wait-seconds --max-parallel --max-failures --in-order --stagger --once --origin --config --definitions-dir --json' ;;
    restart) words='-h --help --check --reason --only --if-meant-up --outdated --retry-reverted --wait-for --wait-timeout --on-failed-start --settle --stop-timeout --players-at-most --max-delay --on-max-delay --warn --warn-message --wait-seconds --max-parallel --max-failures --in-order --stagger --adopt --once --origin --config --definitions-dir --json' ;;
    kill) words='-h --help --check --reason --only --wait-seconds --max-parallel --max-failures --in-order --stagger --once --origin --config --definitions-dir --json' ;;
    log) words='-h --help --config -n --lines -f --follow' ;;
    freeze) words='-h --help --config --until --reason --supervisor --json' ;;
    thaw) words='-h --help --config --json' ;;
    define) words='-h --help --config --write' ;;
  esac
  if [[ "$current" = -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  elif [ "${COMP_WORDS[1]}" != define ]; then
    # A name may contain blanks.
    while IFS= read -r name; do
      [[ "$name" = "$current"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done < <(fleet-power status --names 2>/dev/null)
  fi
}
complete -F _fleet_power fleet-power
