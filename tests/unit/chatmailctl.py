"""`chatmailctl` in this process, for unit tests; the fixture `store` says what it opens."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from chatmail_milter.ctl.main import main


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    """What it says and how it ends."""
    return CliRunner().invoke(main, arguments, input=given)


def rows(*arguments: str) -> Any:
    """What it prints with `--json`, decoded."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)
