"""An account's METADATA entries (RFC 5464): its device tokens, and what an app may know of the relay.

    /private/devicetoken on any mailbox     set adds one, NIL removes all, get gives all of the account's
    /shared/vendor/deltachat/NAME on ""     from the configuration, read only

Dovecot puts the GUID of a mailbox into each key, and the server's own entries under a name of its own in
INBOX's (mailbox-attribute.h). Nothing else is kept, so no other entry can be set, and to remove one succeeds:
RFC 5464, 4.3 has NIL for that, and Dovecot removes the two comments of RFC 5464, 3.2 with each mailbox.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.store.devicetokens import DeviceTokens
from chatmail_milter.store.tables import DEVICE_TOKEN_MAX
from mxdeliv_app.push.dict_protocol import Change, EntryRefusedError

_DEVICE_TOKEN = re.compile(r"priv/[0-9a-f]+/devicetoken")
_DELTACHAT = re.compile(r"shared/[0-9a-f]+/vendor/vendor\.dovecot/pvt/server/vendor/deltachat/(.+)")
# Printable, and no spaces: they stand between several, and are told to the gateway as they are.
_TOKEN = re.compile(rf"[!-~]{{1,{DEVICE_TOKEN_MAX}}}")

_log = logging.getLogger(__name__)


class Metadata:
    """The entries; `deltachat` are the shared ones."""

    def __init__(self, tokens: DeviceTokens, deltachat: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._deltachat = deltachat

    def lookup(self, user: str, key: str) -> str | None:
        """The entry's value, None if there is none. Raises `EntryRefusedError`."""
        if found := _DELTACHAT.fullmatch(key):
            return self._deltachat.get(found[1].lower())
        if not _DEVICE_TOKEN.fullmatch(key) or not address.is_canonical(user):
            return None
        try:
            return " ".join(self._tokens.of(user)) or None
        except SQLAlchemyError as error:
            raise _not_now(error) from None

    def change(self, user: str, changes: list[Change]) -> None:
        """Make the changes. Raises `EntryRefusedError`, with nothing changed, where one of them can't be."""
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
        """Whether an account may have a value at `key`."""
        found = _DELTACHAT.fullmatch(key)
        return bool(_DEVICE_TOKEN.fullmatch(key)) or (
            found is not None and found[1].lower() in self._deltachat
        )


def _not_now(error: SQLAlchemyError) -> EntryRefusedError:
    # Its message holds the statement's parameters, an address and a token among them.
    _log.error("event=store-failed error=%s", type(error).__name__)
    return EntryRefusedError("not now")
