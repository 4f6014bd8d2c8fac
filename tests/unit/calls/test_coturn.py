"""Ports that coturn holds, as the kernel's table of UDP sockets has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatmail_milter.calls import coturn
from chatmail_milter.calls.coturn import CallFigures

# As proc(5) has it; 0D96 is 3478, EE48 61000.
LINE = "  1: {address}:{port} 00000000:0000 07 00000000:00000000 00:00000000 00000000 {uid} 0 12345 2 0 0\n"
V4, V6 = "0B004D0A", "B80D012000770000000000000B000000"


def line(port: str, uid: int = 111, address: str = V4) -> str:
    return LINE.format(address=address, port=port, uid=uid)


@pytest.mark.parametrize(
    ("lines", "figures"),
    [
        ([], CallFigures(up=False, ports=0)),
        ([line("0D96")], CallFigures(up=True, ports=0)),
        # A thread each, and IPv6.
        ([line("0D96"), line("0D96"), line("0D96", address=V6)], CallFigures(up=True, ports=0)),
        ([line("0D96"), line("EE48"), line("EE49", address=V6), line("EE49")], CallFigures(up=True, ports=2)),
        # Another user's.
        ([line("0D96", 0), line("EE48", 112)], CallFigures(up=False, ports=0)),
        ([line("EE48")], CallFigures(up=False, ports=1)),
    ],
)
def test_ports_of_coturn_are_counted_once_without_its_own(lines: list[str], figures: CallFigures) -> None:
    assert coturn.count(lines, 111, 3478) == figures


def test_tables_are_read_without_their_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "udp"
    table.write_text(f"  sl  local_address rem_address   st tx_queue\n{line('0D96', 0)}{line('EE48', 0)}")
    monkeypatch.setattr(coturn, "_TABLES", (table, tmp_path / "udp6"))
    monkeypatch.setattr(coturn, "USER", "root")
    assert coturn.figures(3478) == CallFigures(up=True, ports=1)


def test_without_its_user_there_are_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coturn, "USER", "nobody-of-this-name")
    with pytest.raises(KeyError):
        coturn.figures(3478)
