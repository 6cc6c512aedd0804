# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual and the completion of the command ``fleet-power``, made from its parser and from the documentation of server_power."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.fleet.power.plugins.doc_fragments.node import ModuleDocFragment
from ansible_collections.fleet.power.plugins.module_utils._command.arguments import ACT_HELP, COMMANDS, PROGRAM, flag_of, parser
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import joined
from ansible_collections.fleet.power.plugins.modules import server_power

FILES = Path(__file__).resolve().parents[2] / "roles" / "node" / "files"
#: That of this file.
_LICENSE = [line[2:] for line in Path(__file__).read_text().splitlines()[:3]]
_CODES = (
    ("0", "done, unchanged or skipped"),
    ("2", "wrong usage"),
    ("3", "refused; nothing was changed"),
    ("4", "failed"),
    ("5", "cancelled, for example by a kill or by Ctrl-C before it began"),
)
_NOTES = """Ctrl-C begins nothing new. What has begun is finished, also after a lost connection. Progress goes to standard error, results to
standard output. With several servers the exit code is 4, 3 or 5 if one of them failed, was refused or was cancelled, in this order. Colours
appear only on a terminal; NO_COLOR switches them off."""


_ACTIONS = [name for name in COMMANDS if PowerAction.asked(name) is not None]
#: Sentences about an endpoint or the controller. The parser refuses a wait out of bounds.
_OURS = {
    "task": "command",
    "Elsewhere it is": "The default is",
    "comes from priorities, then": "comes from",
    " by a signal, after the controller is gone for three minutes,": " by a signal,",
}
_ONLY_MODULE = re.compile("api_url|action plugin|Any other value")


_SUBCOMMANDS: Any = next(each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))


def options_of(name: str) -> Iterator[argparse.Action]:
    """Yield the options of a subcommand."""
    yield from (each for each in _SUBCOMMANDS.choices[name]._actions if each.option_strings)


def _documented() -> Mapping[str, Any]:
    texts = (ModuleDocFragment.ACTING, server_power.DOCUMENTATION)
    return {name: option for text in texts for name, option in yaml.safe_load(text)["options"].items()}


def manual() -> str:
    """Return the manual in roff."""
    lines = [*(f'.\\" {line}' for line in _LICENSE), f'.TH {PROGRAM.upper()} 1 "" "fleet.power" "fleet.power"']
    lines += [".SH NAME", f"{PROGRAM} \\- control the game servers of this node"]
    lines += [".SH SYNOPSIS", f".B {PROGRAM}", "COMMAND [OPTION...] [NAME...]"]
    lines += [
        ".SH DESCRIPTION",
        "NAME is a name, a UUID or its first 8 characters; all, alone, is every server, except for log.",
        _NOTES,
    ]
    lines += [".SH COMMANDS"]
    for command, (summary, _names_of_servers) in COMMANDS.items():
        lines += [".TP", f".B {_roff(command)}", f"{_roff(summary)}."]
        if PowerAction.asked(command) is None:
            own = [each for each in options_of(command) if each.dest != "help" and each.help != argparse.SUPPRESS]
            lines += [line for each in own for line in (".br", f"{_names(each)}: {_roff(str(each.help))}.")]
    lines += [".SH OPTIONS OF START, STOP, RESTART AND KILL"]
    lines += [
        line for each in options_of("kill") if each.dest in ("check", "json") for line in (".TP", f".B {_names(each)}", f"{each.help}.")
    ]
    documented = _documented()
    for name in ACT_HELP:
        text = documented[name]["description"] if name in documented else f"{ACT_HELP[name][0].upper()}{ACT_HELP[name][1:]}."
        found = {command: each for command in _ACTIONS for each in options_of(command) if each.dest == name}
        only = f"For {joined([*found], 'and')}." if len(found) < len(_ACTIONS) else ""
        again = "Repeat it for several values." if any(isinstance(each, argparse._AppendAction) for each in found.values()) else ""
        paragraphs = [only, *map(_plain, [text] if isinstance(text, str) else text), again]
        lines += [".TP", f".B {_names(next(iter(found.values())))}", *filter(None, paragraphs)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in _CODES:
        lines += [".TP", f".B {code}", f"{meaning}."]
    return "\n".join(line for each in lines for line in each.split("\n")) + "\n"


def _names(action: argparse.Action) -> str:
    metavar = f" {action.metavar}" if action.metavar else ""
    return f"{', '.join(map(_roff, action.option_strings))}{metavar}"


def _plain(text: str) -> str:
    """Return a paragraph of the module's documentation without its markup, and without sentences that do not concern the command."""
    text = re.sub(r"\bO\((\w+)", lambda found: f"O({flag_of(found[1]) if found[1] in ACT_HELP else found[1]}", text)
    text = re.sub(r"\b(?:RV|[VOCMIBE])\(([^()]*)\)", lambda found: found[1].replace("fleet.power.", "").replace("action=", ""), text)
    text = re.sub(r"\bR\(([^,()]*),[^()]*\)", r"\1", text)
    for words, ours in _OURS.items():
        text = text.replace(words, ours)
    sentences = () if text.startswith("With api_url") else re.split(r"(?<=\.) (?=[A-Z0-9-])", text)
    return _roff(" ".join(each for each in sentences if not _ONLY_MODULE.search(each)))


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def completion() -> str:
    """Return the completion for bash: commands, options and names of servers."""
    cases = "\n".join(f"    {each}) words='{_flags(each)}' ;;" for each in COMMANDS)
    heading = "\n".join(f"# {line}" for line in _LICENSE)
    return f"""{heading}
_fleet_power() {{
  local words= name current="${{COMP_WORDS[COMP_CWORD]}}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W '{" ".join(COMMANDS)}' -- "$current")
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  if [[ "$current" = -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  elif [ "${{COMP_WORDS[1]}}" != define ]; then
    # A name may contain blanks.
    while IFS= read -r name; do
      [[ "$name" = "$current"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done < <({PROGRAM} status --names 2>/dev/null)
  fi
}}
complete -F _fleet_power {PROGRAM}
"""


def _flags(name: str) -> str:
    return " ".join(
        flag for each in options_of(name) if each.help != argparse.SUPPRESS or each.dest in ACT_HELP for flag in each.option_strings
    )


def write_files() -> None:
    """Write both files into role node."""
    (FILES / f"{PROGRAM}.1").write_text(manual())
    (FILES / f"{PROGRAM}.bash").write_text(completion())


if __name__ == "__main__":
    write_files()
