"""The METADATA entries of an account (RFC 5464): device tokens, and facts about the relay.

    /private/devicetoken on any mailbox     setting it adds a token, NIL removes all; its value is all tokens
    /shared/vendor/deltachat/NAME on ""     from the configuration, read-only
    /shared/vendor/deltachat/turn on ""     credentials for calls, made when they are asked for

Dovecot's keys contain the GUID of the mailbox; server entries are below a special name in INBOX
(mailbox-attribute.h). Other entries can't be set. Removing one (NIL; RFC 5464, 4.3) succeeds, since Dovecot
removes the two comments of RFC 5464, 3.2 together with each mailbox.
"""

from __future__ import annotations

import logging
import re
import socket
import socketserver
from collections.abc import Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.store.push import DeviceTokens
from chatmail_milter.store.tables import DEVICE_TOKEN_MAX
from mxdeliv_app.dovecot.deliveries import SILENCE, Listener
from mxdeliv_app.push.dict_protocol import (
    DialogueError,
    DictSession,
    EntryChange,
    EntryRefusedError,
    EntryStore,
)

_DEVICE_TOKEN = re.compile(r"priv/[0-9a-f]+/devicetoken")
_DELTACHAT = re.compile(r"shared/[0-9a-f]+/vendor/vendor\.dovecot/pvt/server/vendor/deltachat/(.+)")
# Printable ASCII without spaces, which separate tokens in the value. Posted to the gateway unchanged.
_TOKEN = re.compile(rf"[!-~]{{1,{DEVICE_TOKEN_MAX}}}")
# The limit of Dovecot's own server (dict-client.h, DICT_CLIENT_MAX_LINE_LENGTH). Its client has none.
_LONGEST_LINE = 64 << 10

_log = logging.getLogger(__name__)


class Metadata:
    """Implements `EntryStore`. `deltachat`: names of the shared entries, and a function that gives the value.

    The function may return None: there is no value now.
    """

    def __init__(self, tokens: DeviceTokens, deltachat: Mapping[str, Callable[[], str | None]]) -> None:
        self._tokens = tokens
        self._deltachat = deltachat

    def lookup(self, user: str, key: str) -> str | None:
        """The value of an entry; None if there is none. Raises `EntryRefusedError`."""
        if found := _DELTACHAT.fullmatch(key):
            value = self._deltachat.get(found[1].lower())
            return None if value is None else value()
        if not _DEVICE_TOKEN.fullmatch(key) or not address.is_canonical(user):
            return None
        try:
            return " ".join(self._tokens.of(user)) or None
        except SQLAlchemyError as error:
            raise _not_now(error) from None

    def change(self, user: str, changes: list[EntryChange]) -> None:
        """Applies changes. Raises `EntryRefusedError`; if a change is not allowed, before any is applied."""
        made = [one for one in changes if one.value is not None or self._is_kept(one.key)]
        if not made:
            return
        if not address.is_canonical(user) or not all(_DEVICE_TOKEN.fullmatch(one.key) for one in made):
            raise EntryRefusedError("no such entry can be set")
        if not all(one.value is None or _TOKEN.fullmatch(one.value) for one in made):
            raise EntryRefusedError("no device token")
        try:
            for one in made:
                if one.value is None:
                    self._tokens.forget_all(user)
                elif not self._tokens.add(user, one.value):
                    raise EntryRefusedError("no such account")
        except SQLAlchemyError as error:
            raise _not_now(error) from None

    def _is_kept(self, key: str) -> bool:
        """Whether there can be a value at `key`."""
        found = _DELTACHAT.fullmatch(key)
        return bool(_DEVICE_TOKEN.fullmatch(key)) or (
            found is not None and found[1].lower() in self._deltachat
        )


def metadata_listener(listening: socket.socket, entries: EntryStore) -> Listener:
    """A server for Dovecot's dict protocol."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = SILENCE

        def handle(self) -> None:
            dialogue = DictSession(entries)
            while line := self.rfile.readline(_LONGEST_LINE):
                whole = line.endswith(b"\n")
                if not whole and not self._skip():
                    return
                try:
                    answer = dialogue.hear(line.removesuffix(b"\n"), whole=whole)
                except DialogueError as error:
                    _log.warning('event=dict-protocol error="%s"', error)
                    return
                self.wfile.write(answer)

        def _skip(self) -> bool:
            """Reads the rest of a line; False if the connection ends first."""
            while rest := self.rfile.readline(_LONGEST_LINE):
                if rest.endswith(b"\n"):
                    return True
            return False

    return Listener(listening, Handler)


def _not_now(error: SQLAlchemyError) -> EntryRefusedError:
    # Not str(error), which contains the statement's parameters: an address, a token.
    _log.error("event=store-failed error=%s", type(error).__name__)
    return EntryRefusedError("not now")
