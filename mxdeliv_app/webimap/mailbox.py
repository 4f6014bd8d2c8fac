"""Carries out the actions of WebIMAP, in a user's IMAP session with Dovecot.

A web client has one session. Between commands it is in IDLE, where Dovecot keeps it without a process.
All methods block, and are for one thread at a time. They raise `WireError`, and `OSError` if the session is
lost.
"""

from __future__ import annotations

import imaplib
import io
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

from mxdeliv_app.webimap import long_header, wire
from mxdeliv_app.webimap.loopback import TIMEOUT, Server, connect
from mxdeliv_app.webimap.wire import WireError

INBOX = "INBOX"
# Messages in one answer; with `since_uid` a client asks for those after it.
MOST = 200
_SUMMARY = ("FLAGS", "RFC822.SIZE", "INTERNALDATE")
# One command asks for the envelopes of messages with headers of so many octets: one full of addresses takes a
# hundred times its size in memory.
_AT_ONCE = 64 << 10
# Of a longer header, which may have 256 KiB (docs/limits.md), only the begin of these fields is read.
_FIELDS = f"HEADER.FIELDS ({long_header.FIELDS})"
# Dovecot makes of a header an ENVELOPE of up to twenty times as much.
_LONGEST_LINE = 2 << 20
# Octets of summaries in one answer, but for the last one.
_MOST_OCTETS = 1_000_000


class _Proxied(imaplib.IMAP4):
    def __init__(self, server: Server, client: str) -> None:
        self._server, self._client = server, client
        super().__init__(server.host, server.port)

    file: io.BufferedReader

    def open(self, *_: Any) -> None:
        self.sock = connect(self._server, self._client)
        self.file = self.sock.makefile("rb")

    def readline(self) -> bytes:
        """As imaplib's, which stops at a megabyte, amid a line: an ENVELOPE has all recipients in one."""
        line = self.file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise self.abort("a line is too long")
        return line

    def is_readable(self) -> bool:
        """Whether something was received that nobody has read: in a buffer, where no selector sees it."""
        self.sock.setblocking(False)
        try:
            return bool(self.file.peek(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.settimeout(TIMEOUT)


class _ProxiedClient(IMAPClient):  # type: ignore[misc]  # IMAPClient has no types
    def __init__(self, server: Server, client: str) -> None:
        self._server, self._client = server, client
        super().__init__(server.host, server.port, ssl=False)
        # IMAPClient has imaplib make a line for a log of every line.
        self._imap.debug = 0

    def _create_IMAP4(self) -> _Proxied:  # noqa: N802  (IMAPClient's name)
        return _Proxied(self._server, self._client)

    def told(self) -> bool:
        """Whether Dovecot told of new messages beside the answer to a command, since this was asked last."""
        return bool(self._imap.response("EXISTS")[1] != [None])

    def is_readable(self) -> bool:
        """As `_Proxied.is_readable`."""
        return bool(self._imap.is_readable())


class WebMailbox:
    """A session, which watches one mailbox for new messages."""

    def __init__(self, server: Server, client: str, login: tuple[str, str]) -> None:
        """Logs in."""
        with _errors():
            self._imap = _ProxiedClient(server, client)
        try:
            with _errors():
                self._imap.plain_login(*login)
        except BaseException:
            self.close()
            raise
        self._watched, self._since, self._idling = INBOX, 0, False

    def close(self) -> None:
        """Ends the session, whatever its state."""
        with suppress(OSError, imaplib.IMAP4.error):
            self._imap.shutdown()

    def watch(self, mailbox: str, since: int) -> None:
        """Opens a mailbox. `news` then returns its messages with UIDs above `since`."""
        self._watched, self._since = mailbox, since
        self._open(mailbox)

    def socket(self) -> ssl.SSLSocket:
        """Readable while in IDLE: there may be news."""
        return self._imap.socket()  # type: ignore[no-any-return]

    def idle(self) -> bool:
        """Begins IDLE. Returns whether there is news already: then the socket need not become readable."""
        with _errors():
            self._imap.idle()
            self._idling = True
            return self._imap.is_readable()

    def news(self) -> list[dict[str, Any]]:
        """Ends IDLE. Returns summaries of messages that came since the last call, some at a time."""
        self._end_idle()
        found: list[dict[str, Any]] = []
        told = True
        # What comes during a command is told at its end, and not in IDLE again.
        while told and not found:
            self._imap.told()
            found = self._summaries(self._since)
            told = self._imap.told()
        if found:
            self._since = found[-1]["uid"]
        return found

    def do(self, action: Any, data: Mapping[str, Any]) -> Any:
        """Carries out an action; returns its result."""
        if not isinstance(action, str) or action not in _ACTIONS:
            raise WireError(400, "unknown action")
        self._end_idle()
        function, *rest = _ACTIONS[action]
        return function(self, data, *rest)

    def summary(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The summary of a message. Raises `WireError` (404) if it is not there."""
        self._end_idle()
        uid = wire.number(data, "uid")
        with self._in(data):
            found = self._described([uid])
        if not found:
            raise WireError(404, "message not found")
        return found[0]

    def piece(self, data: Mapping[str, Any], start: int, octets: int) -> bytes:
        """At most so many octets of a message; less only at its end. Raises `OSError` if it has gone."""
        uid = wire.number(data, "uid")
        # RFC 3501, 6.4.5: a partial fetch.
        with self._in(data), _errors():
            said = self._imap.fetch([uid], [f"BODY.PEEK[]<{start}.{octets}>"]).get(uid, {})
        found = said.get(b"BODY[]<%d>" % start)
        if found is None:
            raise ConnectionResetError("the message was removed while it was read")
        return bytes(found)

    def _end_idle(self) -> None:
        if self._idling:
            with _errors():
                self._imap.idle_done()
            self._idling = False

    def _open(self, mailbox: str) -> None:
        with _errors():
            self._imap.select_folder(mailbox)

    @contextmanager
    def _in(self, data: Mapping[str, Any]) -> Iterator[None]:
        """Opens the mailbox of an action, and afterwards the watched one again."""
        mailbox = wire.text(data, "mailbox", INBOX)
        if mailbox == self._watched:
            yield
            return
        try:
            self._open(mailbox)
            yield
        finally:
            self._open(self._watched)

    def _summaries(self, since: int) -> list[dict[str, Any]]:
        with _errors():
            # `*` is the last message, also where it is not after `since`.
            uids = [uid for uid in self._imap.search(["UID", f"{since + 1}:*"]) if uid > since]
            return self._described(sorted(uids)[:MOST])

    def _said_of(self, uids: list[int]) -> dict[int, dict[bytes, Any]]:
        """Fetches data of messages."""
        try:
            return dict(self._imap.fetch(uids, ("ENVELOPE", *_SUMMARY)))
        except OverflowError:  # A date is out of Python's range.
            if len(uids) == 1:
                return self._said_of_long(uids[0])
            return {uid: said for one in uids for uid, said in self._said_of([one]).items()}

    def _said_of_long(self, uid: int) -> dict[int, dict[bytes, Any]]:
        """The same of a message with a long header, as far as its first octets have it, or a wrong date."""
        part = f"BODY.PEEK[{_FIELDS}]<0.{_AT_ONCE}>"
        return {
            uid: {**said, b"ENVELOPE": long_header.envelope(said.get(f"BODY[{_FIELDS}]<0>".encode(), b""))}
            for uid, said in self._imap.fetch([uid], (part, *_SUMMARY)).items()
        }

    def _described(self, uids: list[int]) -> list[dict[str, Any]]:
        """Summaries of these messages, or of the first of them if they are very long."""
        summaries: list[dict[str, Any]] = []
        with _errors():
            sizes = self._sizes(uids)
            for some in _batches([uid for uid in uids if uid in sizes], sizes):
                is_long = sizes[some[0]] > _AT_ONCE
                found = self._said_of_long(some[0]) if is_long else self._said_of(some)
                summaries += [
                    wire.summary(uid, found[uid]) for uid in some if b"ENVELOPE" in found.get(uid, {})
                ]
                del found
                if sum(map(wire.octets, summaries)) > _MOST_OCTETS:
                    break
        return summaries

    def _sizes(self, uids: list[int]) -> dict[int, int]:
        """Returns upper bounds for the octets of headers: above `_AT_ONCE` only where the header is."""
        sizes = {uid: said[b"RFC822.SIZE"] for uid, said in self._imap.fetch(uids, ["RFC822.SIZE"]).items()}
        large = [uid for uid, size in sizes.items() if size > _AT_ONCE]
        # Only a long header has an octet there (RFC 3501, 6.4.5).
        said_of = self._imap.fetch(large, [f"BODY.PEEK[HEADER]<{_AT_ONCE}.1>"])
        long = [uid for uid in large if said_of.get(uid, {}).get(b"BODY[HEADER]<%d>" % _AT_ONCE)]
        return sizes | dict.fromkeys(large, _AT_ONCE) | dict.fromkeys(long, _AT_ONCE + 1)

    def _list_mailboxes(self, _data: Mapping[str, Any]) -> Any:
        found = []
        with _errors():
            for attributes, _, name in self._imap.list_folders():
                if b"\\Noselect" not in attributes:
                    status = self._imap.folder_status(name, ["MESSAGES", "UNSEEN"])
                    found.append({"name": name, "messages": status[b"MESSAGES"], "unseen": status[b"UNSEEN"]})
        return found

    def _list_messages(self, data: Mapping[str, Any]) -> Any:
        with self._in(data):
            return self._summaries(wire.number(data, "since_uid", 0))

    def _search(self, data: Mapping[str, Any]) -> Any:
        wanted = _criteria(wire.text(data, "query"))
        with self._in(data), _errors():
            return self._described(sorted(self._imap.search(wanted, "UTF-8"))[-MOST:])

    def _flags(self, data: Mapping[str, Any]) -> Any:
        uid, flags, op = wire.number(data, "uid"), wire.flags(data), data.get("op")
        if op not in wire.OPS:
            raise WireError(400, "op: wants add, remove or set")
        with self._in(data), _errors():
            getattr(self._imap, f"{op}_flags")([uid], flags)
        return {"status": "ok"}

    def _delete(self, data: Mapping[str, Any]) -> Any:
        uid = wire.number(data, "uid")
        with self._in(data), _errors():
            self._imap.delete_messages([uid])
            self._imap.uid_expunge([uid])
        return {"status": "deleted"}

    def _copy(self, data: Mapping[str, Any], command: str, status: str) -> Any:
        with self._in(data), _errors():
            getattr(self._imap, command)([wire.number(data, "uid")], wire.text(data, "dest_mailbox"))
        return {"status": status}

    def _folder(self, data: Mapping[str, Any], command: str, keys: Sequence[str], status: str) -> Any:
        with _errors():
            getattr(self._imap, command)(*(wire.text(data, key) for key in keys))
        return {"status": status}


# Each with what else it is given: a command of IMAPClient, keys of names, and what is answered.
_ACTIONS: dict[str, tuple[Any, ...]] = {
    "list_mailboxes": (WebMailbox._list_mailboxes,),
    "list_messages": (WebMailbox._list_messages,),
    "search": (WebMailbox._search,),
    "flags": (WebMailbox._flags,),
    "delete": (WebMailbox._delete,),
    "copy": (WebMailbox._copy, "copy", "copied"),
    "move": (WebMailbox._copy, "move", "moved"),
    "create_mailbox": (WebMailbox._folder, "create_folder", ["name"], "created"),
    "rename_mailbox": (WebMailbox._folder, "rename_folder", ["old_name", "new_name"], "renamed"),
    "delete_mailbox": (WebMailbox._folder, "delete_folder", ["name"], "deleted"),
}


def _batches(uids: list[int], sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Messages that are small together, and large ones one by one."""
    batch: list[int] = []
    for uid in uids:
        if batch and sum(sizes[one] for one in (*batch, uid)) > _AT_ONCE:
            yield batch
            batch = []
        batch.append(uid)
    if batch:
        yield batch


def _criteria(query: str) -> str | list[str]:
    """A search for this text. IMAPClient quotes text with spaces, but not `(`, `)` or `{5}`."""
    if not query.isascii():
        # It sends these as literals.
        return ["OR", "SUBJECT", query, "OR", "FROM", query, "TO", query]
    # RFC 3501, 9: a quoted string.
    quoted = '"' + query.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"OR SUBJECT {quoted} OR FROM {quoted} TO {quoted}"


@contextmanager
def _errors() -> Iterator[None]:
    """Turns Dovecot's errors into errors for the client. A lost session is an `OSError`."""
    try:
        yield
    except imaplib.IMAP4.abort as error:
        raise ConnectionResetError(str(error)) from None
    except LoginError as error:
        # RFC 5530: response codes.
        temporary = any(code in str(error) for code in ("[UNAVAILABLE]", "[LIMIT]", "[INUSE]"))
        raise WireError(*(503, "try again later") if temporary else (401, "authentication failed")) from None
    except IMAPClientError as error:
        raise WireError(413 if "[OVERQUOTA]" in str(error) else 400, str(error)) from None
