"""A link as a code to scan, in characters, where `--qr` asks for it."""

from __future__ import annotations

import sys

import click
import segno

from chatmail_milter.ctl.output import Function


def qr_option(function: Function) -> Function:
    """The option `--qr`, as the argument `qr`."""
    return click.option("--qr", is_flag=True, help="Show the link as a QR code too, on stderr.")(function)


def print_qr(link: str) -> None:
    """The code, on stderr: what is on stdout stays text, or JSON."""
    segno.make_qr(link).terminal(out=sys.stderr, compact=True)
