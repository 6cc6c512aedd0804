#!/bin/sh
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Brings definitions to the nodes, then restarts the servers that are up and not as their definitions say now: a canary first, then the rest,
# within a budget of failures. What a deploy does not change is left alone.
#
#   deploy.sh [ARGUMENT...]            a deploy; arguments go to ansible-playbook: --limit node1, -e rollout_serial=10%
#   deploy.sh --check [ARGUMENT...]    changes nothing, and names the servers that the same deploy without it would restart
#   deploy.sh --resume [ARGUMENT...]   what the last deploy left undone or failed at; what it has done is left alone
#
# The exit code is ansible-playbook's: 0 only if every server is as it should be. The rest is said by environment variables:
: "${DEPLOY_INVENTORY:=inventory.yml}"      # the nodes, and in node_definitions_dir where their definitions are
: "${DEPLOY_OUTDATED:=true}"                # only what is not what its definition says any more; false: every server that is up
: "${DEPLOY_CANARY:=1}"                     # so many servers first, or those of a node; the others wait for their verdict
: "${DEPLOY_BUDGET:=0}"                     # so many servers of the whole run may fail, also as in 10%
: "${DEPLOY_SOAK:=30}"                      # seconds that a restarted server must stay up
: "${DEPLOY_REASON:=deploy}"                # kept in the journal of every server, and told to those who wait for it
: "${DEPLOY_RESULT:=deploy-result.json}"    # what became of each server
: "${DEPLOY_RESUME:=deploy-resume.json}"    # which servers were not done; --resume takes it
set -eu
here=$PWD
full() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
DEPLOY_RESULT=$(full "$DEPLOY_RESULT")
DEPLOY_RESUME=$(full "$DEPLOY_RESUME")
take_up=
if [ "${1:-}" = --resume ]; then
    shift
    # An empty one says that nothing was left.
    if [ ! -s "$DEPLOY_RESUME" ]; then
        echo "Cannot resume: there is no $DEPLOY_RESUME; the last deploy left nothing undone, or the file was not kept" >&2
        exit 2
    fi
    take_up=$DEPLOY_RESUME
fi
# Check mode writes no file, and removes none. No value of an option can look like this to ansible-playbook.
only_check=false
for word in "$@"; do
    case $word in
        --) break ;;
        --ch | --che | --chec | --check) only_check=true ;;
        --*) ;;
        # Letters in one word: another letter than these takes what follows for its value.
        -*C*) case ${word%%C*} in *[!DJKbkv-]*) ;; *) only_check=true ;; esac ;;
    esac
done
if [ "$only_check" = false ]; then rm -f "$DEPLOY_RESULT"; fi

# Every fault of definitions and settings, by file and key. No node is asked for it: a fault ends the deploy here.
ansible-playbook --inventory "$DEPLOY_INVENTORY" fleet.power.validate "$@"

# What the servers are. If a node cannot get it, the deploy ends here, with nothing restarted. Without the tag: what the nodes need, too.
ansible-playbook --inventory "$DEPLOY_INVENTORY" fleet.power.node --tags node_definitions "$@"

# A new deploy is for every server that is up and outdated, whatever the last one left.
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

# The same in few words, for the end of a long log; the result has everything.
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
    echo "deploy: what is left stands in $DEPLOY_RESUME; once it is clear why, '$0 --resume' does it, in place of rollout_resume as above"
fi
exit "$code"
