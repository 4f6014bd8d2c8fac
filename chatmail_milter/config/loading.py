"""Reads `/etc/chatmail/chatmail.toml`, or `$CHATMAIL_CONFIG`.

An unknown or malformed key is an error of one line, with the key and the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from chatmail_milter.config.schema import Config, Section
from chatmail_milter.config.values import decode

DEFAULT_PATH = Path("/etc/chatmail/chatmail.toml")


class ConfigError(Exception):
    """The configuration is invalid; the message is one line with the key."""


def place() -> Path:
    """The path of the configuration: `$CHATMAIL_CONFIG`, else `DEFAULT_PATH`."""
    return Path(os.environ.get("CHATMAIL_CONFIG", DEFAULT_PATH))


def load(path: Path | None = None) -> Config:
    """Reads the configuration from `path`, else from `place()`. Raises `ConfigError`."""
    path = path or place()
    try:
        return parse(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None


def parse(text: str, name: str = "configuration") -> Config:
    """Parses `text` (TOML). `name`: the file's name for error messages. Raises `ConfigError`."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from None
    _refuse_unknown(name, tree, Config, "")
    try:
        return msgspec.convert(tree, Config, dec_hook=decode)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        where = where.rstrip("`")
        what += _choices(where)
        raise ConfigError(f"{name}: {where or 'the file'}: {what}") from None


def load_or_exit() -> Config:
    """`load`; on an error prints one line to stderr and exits with 78 (EX_CONFIG, sysexits.h)."""
    try:
        return load()
    except ConfigError as error:
        print(f"fix the configuration: {error}", file=sys.stderr)
        sys.exit(78)


def _choices(where: str) -> str:
    """A clause that lists the allowed values of an enumerated setting (`section.key`); empty for others."""
    kind: Any = Config
    for key in where.split("."):
        kind = get_type_hints(kind).get(key) if isinstance(kind, type) else None
    texts = get_args(kind) if get_origin(kind) is Literal else ()
    return f"; it can be {', '.join(texts)}" if texts else ""


def _refuse_unknown(name: str, tree: dict[str, Any], section: type[Any], prefix: str) -> None:
    known = get_type_hints(section)
    for key, value in tree.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(f"{name}: {prefix}{key}: no such key; the nearest is {prefix}{nearest[0]}")
        inner = known[key]
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Section):
            _refuse_unknown(name, value, inner, f"{prefix}{key}.")
