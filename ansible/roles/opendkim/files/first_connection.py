"""Makes the first connection to OpenDKIM, which then creates its resolver: `first_connection.py SOCKET`.

Waits for the socket. Ends with an error unless OpenDKIM answers as a milter that is ready for mail. Run it
as root. It uses only Python's own library, because no package of ours may be installed yet.

The protocol is that of libmilter's `mfdef.h`: a length, a letter, data.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

PATIENCE = 20.0  # seconds for all of it
NEGOTIATE, CONNECT, CONTINUE = b"O", b"C", b"c"
# Version 6, all that a milter may want to do, and no stage left out or unanswered.
OFFER = struct.pack(">III", 6, 0x1FF, 0)
PEER = b"localhost\0" + b"4" + struct.pack(">H", 0) + b"127.0.0.1\0"


def reached(path: str, until: float) -> socket.socket:
    """A connection to the socket, as soon as OpenDKIM listens there."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return connection


def asked(connection: socket.socket, letter: bytes, data: bytes) -> bytes:
    """The letter of the answer."""
    connection.sendall(struct.pack(">I", 1 + len(data)) + letter + data)
    head = connection.recv(5, socket.MSG_WAITALL)
    if len(head) < 5:
        raise ConnectionError("OpenDKIM closed the connection")
    connection.recv(struct.unpack(">I", head[:4])[0] - 1, socket.MSG_WAITALL)
    return head[4:]


def main() -> None:
    with reached(sys.argv[1], time.monotonic() + PATIENCE) as connection:
        connection.settimeout(PATIENCE)
        for letter, data, wanted in ((NEGOTIATE, OFFER, NEGOTIATE), (CONNECT, PEER, CONTINUE)):
            answer = asked(connection, letter, data)
            if answer != wanted:
                sys.exit(f"look into OpenDKIM's journal: it answers {answer!r} to {letter!r}")


if __name__ == "__main__":
    main()
