# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of nodes that also run on machines, with the fixtures of this directory."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.tests.fleet.test_hooks import (
    test_hooks_get_their_environment_and_arguments_unchanged_and_a_failure_is_shown,
    test_the_next_action_ends_the_hook_of_a_dead_actor_and_starts_the_server_once,
)
from ansible_collections.fleet.power.tests.fleet.test_how_do_i import test_every_command_of_the_guide_works
from ansible_collections.fleet.power.tests.fleet.test_job_ends import (
    test_a_reboot_of_the_node_interrupts_a_job,
)
from ansible_collections.fleet.power.tests.fleet.test_maintenance import (
    test_a_node_reboots_once_if_a_kill_separates_reboot_and_start,
    test_running_servers_are_down_for_the_work_and_start_in_order_after_it,
)
from ansible_collections.fleet.power.tests.fleet.test_node import test_a_machine_becomes_a_node_and_a_second_run_changes_nothing
from ansible_collections.fleet.power.tests.fleet.test_readme import test_the_first_playbook_and_the_commands_after_it_run_as_they_stand
from ansible_collections.fleet.power.tests.fleet.test_rollout_faults import (
    test_a_node_that_reboots_in_mid_run_counts_and_a_resume_starts_its_servers,
)
from ansible_collections.fleet.power.tests.fleet.test_shim import (
    test_the_shim_does_its_accepted_actions_after_a_power_cut,
    test_the_shim_restarts_after_a_kill_or_hang_and_does_its_waiting_actions,
)
from ansible_collections.fleet.power.tests.fleet.test_supervised import (
    test_a_killed_supervisor_returns_and_starts_a_crashed_server_once,
    test_after_a_power_cut_only_servers_that_should_be_up_start,
    test_servers_return_after_an_engine_restart_and_do_not_count_as_crashed,
    test_the_supervisor_does_not_interfere_with_a_maintenance_and_its_reboot,
)

__all__ = [
    "test_a_killed_supervisor_returns_and_starts_a_crashed_server_once",
    "test_a_machine_becomes_a_node_and_a_second_run_changes_nothing",
    "test_a_node_reboots_once_if_a_kill_separates_reboot_and_start",
    "test_a_node_that_reboots_in_mid_run_counts_and_a_resume_starts_its_servers",
    "test_a_reboot_of_the_node_interrupts_a_job",
    "test_after_a_power_cut_only_servers_that_should_be_up_start",
    "test_every_command_of_the_guide_works",
    "test_hooks_get_their_environment_and_arguments_unchanged_and_a_failure_is_shown",
    "test_running_servers_are_down_for_the_work_and_start_in_order_after_it",
    "test_servers_return_after_an_engine_restart_and_do_not_count_as_crashed",
    "test_the_first_playbook_and_the_commands_after_it_run_as_they_stand",
    "test_the_next_action_ends_the_hook_of_a_dead_actor_and_starts_the_server_once",
    "test_the_shim_does_its_accepted_actions_after_a_power_cut",
    "test_the_shim_restarts_after_a_kill_or_hang_and_does_its_waiting_actions",
    "test_the_supervisor_does_not_interfere_with_a_maintenance_and_its_reboot",
]

#: `make machines` leaves them to `make test-machines`.
pytestmark = pytest.mark.long
