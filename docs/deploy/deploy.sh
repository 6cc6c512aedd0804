#!/bin/sh
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Copies definitions to the nodes, then restarts running servers that are outdated: a canary first, then the rest, within a failure budget.
#
#   deploy.sh [ARGUMENT...]            deploy; arguments go to ansible-playbook: --limit node1, -e rollout_serial=10%
#   deploy.sh --check [ARGUMENT...]    change nothing; name the servers that the same deploy would restart
#   deploy.sh --resume [ARGUMENT...]   do only the servers that the last deploy did not do, or that failed
#
# The exit code is ansible-playbook's: 0 only if every server is as it should be. Environment variables set the rest:
: "${DEPLOY_INVENTORY:=inventory.yml}"      # the nodes; node_definitions_dir is the directory of their definitions
: "${DEPLOY_OUTDATED:=true}"                # only outdated servers; false: every server that is up
: "${DEPLOY_CANARY:=1}"                     # number of servers in the canary, or a node; the other servers wait for its result
: "${DEPLOY_BUDGET:=0}"                     # number of servers that may fail in the whole run, also as in 10%
: "${DEPLOY_SOAK:=30}"                      # seconds that a restarted server must stay up
: "${DEPLOY_REASON:=deploy}"                # the reason in the journal, and for tasks that wait for a server
: "${DEPLOY_RESULT:=deploy-result.json}"    # the result of each server
: "${DEPLOY_RESUME:=deploy-resume.json}"    # the servers that were not done; --resume reads it
set -eu
# A misspelt name would lose its value. Other variables that begin with DEPLOY_ stay possible.
python3 - <<'NAMES'
import difflib, os, sys

NAMES = ["INVENTORY", "OUTDATED", "CANARY", "BUDGET", "SOAK", "REASON", "RESULT", "RESUME", "TAKE_UP"]
given = [name[7:] for name in os.environ if name.startswith("DEPLOY_") and name[7:] not in NAMES]
near = [(name, meant) for name in given for meant in difflib.get_close_matches(name, NAMES[:-1], 1, 0.75)]
if near:
    print("Cannot deploy:", "; ".join(f"there is no DEPLOY_{name} (did you mean DEPLOY_{meant}?)" for name, meant in near), file=sys.stderr)
    sys.exit(2)
NAMES
here=$PWD
full() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
DEPLOY_RESULT=$(full "$DEPLOY_RESULT")
DEPLOY_RESUME=$(full "$DEPLOY_RESUME")
take_up=
if [ "${1:-}" = --resume ]; then
    shift
    # An empty file means that no server is left.
    if [ ! -s "$DEPLOY_RESUME" ]; then
        echo "Cannot resume: there is no $DEPLOY_RESUME; the last deploy is complete, or its file is lost" >&2
        exit 2
    fi
    take_up=$DEPLOY_RESUME
fi
# Check mode writes and removes no file. ansible-playbook never takes such a word as the value of an option.
only_check=false
for word in "$@"; do
    case $word in
        --) break ;;
        --ch | --che | --chec | --check) only_check=true ;;
        --*) ;;
        # -C in a group of letters. After any other letter, the rest of the word is a value.
        -*C*) case ${word%%C*} in *[!DJKbkv-]*) ;; *) only_check=true ;; esac ;;
    esac
done
if [ "$only_check" = false ]; then rm -f "$DEPLOY_RESULT"; fi

# Lists each fault of definitions and settings by file and key, without a connection to a node. A fault ends the deploy here.
ansible-playbook --inventory "$DEPLOY_INVENTORY" fleet.power.validate "$@"

# Copies the definitions. A failure on a node ends the deploy here, before any restart. Without the tag, it sets up the nodes, too.
ansible-playbook --inventory "$DEPLOY_INVENTORY" fleet.power.node --tags node_definitions "$@"

# A new deploy covers every running server that is outdated, so the rest of the last one is obsolete.
if [ -z "$take_up" ] && [ "$only_check" = false ]; then rm -f "$DEPLOY_RESUME"; fi
export DEPLOY_OUTDATED DEPLOY_CANARY DEPLOY_BUDGET DEPLOY_SOAK DEPLOY_REASON DEPLOY_RESULT DEPLOY_RESUME DEPLOY_TAKE_UP="$take_up"
code=0
ansible-playbook --inventory "$DEPLOY_INVENTORY" fleet.power.rolling_restart --extra-vars "$(cat <<'VARIABLES'
{
  "rollout_outdated": "{{ lookup('ansible.builtin.env', 'DEPLOY_OUTDATED') }}",
  "rollout_preview_definitions": true,
  "rollout_canary": "{{ lookup('ansible.builtin.env', 'DEPLOY_CANARY') }}",
  "rollout_max_failures": "{{ lookup('ansible.builtin.env', 'DEPLOY_BUDGET') }}",
  "rollout_soak": "{{ lookup('ansible.builtin.env', 'DEPLOY_SOAK') }}",
  "rollout_reason": "{{ lookup('ansible.builtin.env', 'DEPLOY_REASON') }}",
  "rollout_result_file": "{{ lookup('ansible.builtin.env', 'DEPLOY_RESULT') }}",
  "rollout_resume_file": "{{ lookup('ansible.builtin.env', 'DEPLOY_RESUME') }}",
  "rollout_resume": "{{ lookup('ansible.builtin.env', 'DEPLOY_TAKE_UP') }}",
  "rollout_resume_failed": true
}
VARIABLES
)" "$@" || code=$?
if [ "$only_check" = true ]; then exit "$code"; fi

# A summary for the end of a long log. The result file has all details.
python3 - "$DEPLOY_RESULT" <<'SUMMARY' || [ "$code" != 0 ] || code=1
import json, sys

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
except (OSError, ValueError) as error:
    sys.exit(f"There is no result: {error}")
print("deploy:", result["msg"])
for server in result["servers"]:
    if server["outcome"] not in ("done", "unchanged", "skipped", "not_done"):
        print("deploy:", server.get("node", ""), server.get("name") or server.get("server", ""), server["outcome"], server.get("code", ""))
sys.exit(0 if result["ok"] else 1)
SUMMARY
if [ -s "$DEPLOY_RESUME" ]; then
    echo "deploy: $DEPLOY_RESUME has the servers that are left; correct the cause, then run '$0 --resume' instead of rollout_resume as above"
fi
exit "$code"
