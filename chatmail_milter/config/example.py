"""Writes a configuration as TOML, with the documentation of each setting from the types in `schema`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from chatmail_milter.config import Config, MailSettings, Section
from chatmail_milter.config.values import Duration, MailDomain, NetworkList, Size

EXAMPLE = Config(mail=MailSettings(domain=MailDomain("chat.example.org")))

_WIDTH = 100
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_DURATIONS = (("d", 86400), ("h", 3600), ("min", 60))


def render(config: Config, *, documented: bool) -> str:
    """TOML with every setting of `config`. `documented`: with descriptions, and defaults commented out."""
    return "\n".join(_section(name, section, documented) for name, section in sections(config)) + "\n"


def tree(config: Config) -> dict[str, dict[str, Any]]:
    """The configuration as a dictionary of sections, with values as they are written in TOML."""
    return {
        name: {field: _plain(getattr(section, field)) for field in section.__struct_fields__}
        for name, section in sections(config)
    }


@dataclass(frozen=True)
class Setting:
    """A setting: its value in TOML (None: unset), its description, and whether it is required."""

    key: str
    value: str | None
    text: str
    required: bool


def settings(section: Section) -> Iterator[Setting]:
    """The settings of a section."""
    hints = get_type_hints(type(section), include_extras=True)
    required = {field.name for field in msgspec.structs.fields(section) if field.required}
    for key in section.__struct_fields__:
        value = _plain(getattr(section, key))
        written = None if value is None else _toml(value)
        yield Setting(key, written, _description(hints[key]), key in required)


def first_line(section: Section) -> str:
    """The description of a section."""
    return (type(section).__doc__ or "").splitlines()[0]


def sections(config: Config) -> list[tuple[str, Section]]:
    """The sections with their names."""
    return [(name, getattr(config, name)) for name in config.__struct_fields__]


def _section(name: str, section: Section, documented: bool) -> str:
    lines = [f"# {first_line(section)}"] if documented else []
    lines.append(f"[{name}]")
    for one in settings(section):
        if documented:
            lines += textwrap.wrap(one.text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        if one.value is None:
            # TOML has no null, so an unset setting is written as a comment.
            lines.append(f"#{one.key} =")
        else:
            comment = "#" if documented and not one.required else ""
            lines.append(f"{comment}{one.key} = {one.value}")
        if documented:
            lines.append("")
    return "\n".join(lines) if documented else "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    # TOML's inline tables differ from JSON's objects; the other values used here are the same in both.
    if isinstance(value, dict):
        inner = ", ".join(
            f"{json.dumps(key, ensure_ascii=False)} = {_toml(one)}" for key, one in value.items()
        )
        return f"{{ {inner} }}" if inner else "{}"
    # Unescaped, because JSON escapes characters beyond U+FFFF as two surrogates, which TOML refuses.
    return json.dumps(value, ensure_ascii=False)


def _description(hint: Any) -> str:
    if get_origin(hint) is not Annotated:
        return ""
    return next((one.description or "" for one in get_args(hint)[1:] if isinstance(one, msgspec.Meta)), "")


def _plain(value: Any) -> Any:
    if isinstance(value, Size):
        return _with_unit(int(value), _SIZES, "B")
    if isinstance(value, Duration):
        return _with_unit(float(value), _DURATIONS, "s")
    if isinstance(value, NetworkList):
        return [str(network) for network in value]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


def _with_unit(value: float, units: tuple[tuple[str, int], ...], smallest: str) -> str:
    for unit, size in units:
        if value and value % size == 0:
            return f"{int(value // size)}{unit}"
    return f"{value}{smallest}" if isinstance(value, int) else f"{value:g}{smallest}"
