"""`chatmailctl --help` lists each command without importing its module."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from chatmail_milter.ctl.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_commands_own_help_begins_with(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").startswith(COMMANDS[name][1])


def test_the_list_is_shown_without_what_the_commands_need() -> None:
    program = (
        "import sys; from chatmail_milter.ctl.main import main;"
        "[main([word], standalone_mode=False) for word in ('--version', '--help')];"
        "print(sorted({'sqlalchemy', 'rich', 'requests', 'pgpy', 'dns', 'segno'} & {*sys.modules}))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    assert ", version " in said.splitlines()[0]
    assert all(f"  {name} " in said for name in COMMANDS)


def test_an_unknown_command_is_an_error_that_names_it() -> None:
    with pytest.raises(click.UsageError, match="No such command 'pears'"):
        main(["pears"], standalone_mode=False)
