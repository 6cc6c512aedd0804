# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of `server_power`: they turn the core's answers into a module's exit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ._core import PACKAGE, import_whole
from ._followed_session import in_followed_session
from ._job import Job, asked_for
from ._own_session import Interruptions, in_own_session
from ._power.actions.many.bulk import Target, means_all
from ._power.call import check_bounds, checked, open_call, perform_options
from ._power.model.caller import Caller, is_ad_hoc
from ._power.model.errors import INTERNAL_ERROR, Incomplete, PowerError, SettingsInvalid, internal_error
from ._power.model.option import Option, argument_spec, refuse_unknown
from ._power.model.redaction import shown_host
from ._power.model.report import Detail, diff, entries, failure_message, incomplete_message, is_failure, summary
from ._power.model.request import PowerAction
from ._power.model.result import Result
from ._power.options import INFO_OPTIONS, LIMIT_OPTIONS, POWER_OPTIONS

#: Options with secrets are never shown.
_UNSEEN = ("definitions", "api_token")


class PowerModule(AnsibleModule):  # type: ignore[misc]
    """A module that keeps definitions out of syslog and out of its ``invocation``."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._failure: dict[str, Any] = {"code": SettingsInvalid.code}
        super().__init__(argument_spec=argument_spec(options), supports_check_mode=True)
        self._failure = {}

    @property
    def no_log(self) -> bool:
        """True, always: Ansible writes no arguments into the syslog."""
        return True

    @no_log.setter
    def no_log(self, _value: bool) -> None:
        """Ignore the task's own no_log, which the constructor sets and which is usually false."""

    def exit_json(self, **result: Any) -> NoReturn:
        with _perhaps_unheard():
            super().exit_json(**{"invocation": self._invocation(), **result})
        raise AssertionError

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """Exit with a failure and without a traceback. A misspelt option is named before any other fault of the options."""
        unknown = getattr(getattr(self, "validation_result", None), "unsupported_parameters", ())
        try:
            refuse_unknown(sorted(unknown), [*self.argument_spec, *self.aliases], "the options")
        except SettingsInvalid as error:
            msg = str(error)
        with _perhaps_unheard():
            super().fail_json(msg, **{"invocation": self._invocation(), **self._failure, **result})
        raise AssertionError

    def _invocation(self) -> dict[str, Any]:
        """Return the known options only: a mistyped name may hold a secret, and the error names it."""
        given = getattr(self, "params", None) or {}
        seen = {name: given[name] for name in self.argument_spec if name not in _UNSEEN and given.get(name) is not None}
        seen |= {name: shown_host(str(seen[name])) for name in ("docker_host", "api_url") if name in seen}
        return {"module_args": seen}


@contextlib.contextmanager
def _perhaps_unheard() -> Iterator[None]:
    """Ignore that the reader of the result is gone; the journal has it."""
    try:
        yield
    except OSError:
        raise SystemExit(1) from None


def run_power_module() -> None:
    module = PowerModule(POWER_OPTIONS)
    followed = None if module.check_mode else asked_for(os.environ)
    if followed is None:
        in_own_session(lambda interrupted: _fail_cleanly(module, lambda: _run(module, interrupted, None)))
    else:
        in_followed_session(lambda interrupted, job: _fail_cleanly(module, lambda: _run(module, interrupted, job)), followed)


def run_limits_module() -> None:
    module = PowerModule(LIMIT_OPTIONS)
    module.params = {**{name: option.default for name, option in POWER_OPTIONS.items()}, **module.params, "action": PowerAction.LIMIT.value}
    in_own_session(lambda interrupted: _fail_cleanly(module, lambda: _run(module, interrupted, None)))


def run_info_module() -> None:
    module = PowerModule(INFO_OPTIONS)
    _fail_cleanly(module, lambda: _look(module))


def _look(module: PowerModule) -> None:
    # Import here, as in `call`: actions need no descriptions.
    from ._power.actions.many.server_facts import FactOptions, ask_players

    options = module.params
    check_bounds(options, INFO_OPTIONS)
    if options["server"] == []:
        # An empty list from a template does not mean all servers.
        module.exit_json(changed=False, complete=True, servers=[], supervisor=None, events=None, freeze=None)
    with contextlib.closing(open_call(options, read_only=True)) as call:
        wanted = FactOptions(options["tail"], options["operations"], options["crashes"], ask_players)
        facts = call.describe(options["server"] or (), wanted, check=module.check_mode)
    warn_each(module, call.warnings(), facts.warnings)
    why = {} if facts.complete else {"msg": "; ".join(facts.unlisted)}
    node = {"supervisor": facts.supervisor, "events": facts.events, "freeze": facts.freeze}
    module.exit_json(changed=False, complete=facts.complete, servers=facts.entries, **node, **why)


def _run(module: PowerModule, interrupted: Interruptions, job: Job | None) -> None:
    options = checked(module.params, module.warn)
    if not options["server"]:
        # An empty list of servers means no server.
        msg = f"No server to {options['action']}: the list of servers is empty"
        module.exit_json(action=options["action"], changed=False, servers=[], summary={}, msg=msg)
    caller = Caller(interrupted) if job is None else Caller(interrupted, interrupted.hold, lambda news: job.tell(news.line()))

    def begin(targets: Sequence[Target]) -> None:
        if len(targets) > 1 and __name__.startswith(PACKAGE):
            import_whole()
        if job is not None:
            job.tell({"servers": len(targets)})

    performed = perform_options(options, caller, check=module.check_mode, diff=module._diff, begin=begin)
    warn_each(module, performed.warnings)
    _leave(module, options, performed.results, performed.unlisted)


def _fail_cleanly(module: PowerModule, body: Callable[[], None]) -> None:
    """Turn each error into a failure without a traceback: an error of the node with its code, any other as a bug."""
    try:
        body()
    except PowerError as error:
        module.fail_json(str(error), code=error.code)
    except Exception as error:
        module.fail_json(internal_error(error), code=INTERNAL_ERROR)


def warn_each(module: PowerModule, *groups: Sequence[str]) -> None:
    for warning in dict.fromkeys(warning for group in groups for warning in group):
        module.warn(warning)


def _leave(module: PowerModule, options: Mapping[str, Any], results: Sequence[Result], unlisted: Sequence[str]) -> NoReturn:
    # The task's text decides the shape of the result, and not the number of servers found.
    all_meant = means_all(options["server"])
    detail = Detail.BRIEF if len(options["server"]) > 1 or all_meant else Detail.WHOLE
    if is_ad_hoc(options["origin"]) and not module._verbosity:
        detail = Detail.SPOKEN
    report: dict[str, Any] = {
        "action": options["action"],
        "changed": any(result.changed for result in results),
        **({"diff": diff(results)} if module._diff else {}),
        "servers": entries(results, check=module.check_mode, all_steps=module._verbosity > 0, detail=detail, timed=options["phases"]),
        "summary": summary(results),
    }
    missed = incomplete_message(PowerAction(options["action"]), results, unlisted) if all_meant else ""
    failed = failure_message(results) if any(is_failure(result) for result in results) else ""
    if missed:
        module.fail_json("; ".join(filter(None, (missed, failed))), code=Incomplete.code, **report)
    if failed:
        module.fail_json(failed, **report)
    if not results:
        which = "up" if PowerAction(options["action"]).traits.all_means_up else "selected"
        report["msg"] = f"No server to {options['action']}: no server of this node is {which}"
    module.exit_json(**report)
