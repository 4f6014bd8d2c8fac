"""Breaks one function of a program that is started with this directory in PYTHONPATH (see `site` of Python).

`BROKEN=module:name` says which. So a test can ask what becomes of our own bugs, and no program has a switch
for that.
"""

from __future__ import annotations

import importlib
import operator
import os
from typing import NoReturn


def _fail(*_given: object) -> NoReturn:
    # Not written out here: a traceback shows this line.
    raise ZeroDivisionError(_CONTENT)


_CONTENT = "secret: alice@a.example"
_module, _, _name = os.environ["BROKEN"].partition(":")
_where, _, _attribute = _name.rpartition(".")
_owner = importlib.import_module(_module)
setattr(operator.attrgetter(_where)(_owner) if _where else _owner, _attribute, _fail)
