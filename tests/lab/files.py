"""Files that others read while they are written anew."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Others read the former text until all of this one is there."""
    half = file.with_name(f"{file.name}.half")
    half.write_text(text, encoding="utf-8")
    half.rename(file)
