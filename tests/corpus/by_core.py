"""Samples by Delta Chat's current core: people's apps talk through `MailHost`; all that they submit is kept.

Every story is one thing that people do in the app; what the cores send for it, answers included, are its
samples. No network but loopback, no root.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import deltachat_rpc_server  # type: ignore[import-untyped]
from deltachat_rpc_client import Rpc

from tests.chat import pgp
from tests.corpus.app import TEXT, App
from tests.corpus.mailhost import MailHost, Submitted
from tests.corpus.manifest import ALICE, BOB, CAROL, DAVE, ENCRYPTED, NONE, SECURE_JOIN, Sample
from tests.corpus.wrapped import Made

# How long a story may take, and how long nothing must have been submitted until it is over.
_STORY_SECONDS = 60.0
_QUIET_SECONDS = 1.5
# How many messages a story has at least. A large file comes after a message that announces it.
_LEAST = {"securejoin": 4, "securejoin-carol": 4, "old-invite": 4, "file-5m": 2, "file-20m": 2}

Story = Callable[[], None]


class _Stories:
    """What is told, in order; each a name, what it is, and how to tell it."""

    def __init__(self, rpc: Any, host: MailHost, folder: Path) -> None:
        self.alice = App(rpc, host, ALICE, displayname="Alice")
        self.bob = App(rpc, host, BOB, displayname="Bob")
        self.carol = App(rpc, host, CAROL, displayname="Carol")
        self.dave = App(rpc, host, DAVE, displayname="Dave")
        self.host = host
        self.folder = folder
        self.group = 0
        self.channel = 0

    def all(self) -> Iterator[tuple[str, str, Story]]:
        yield "securejoin", "SecureJoin version 3: Bob scans Alice's code", lambda: self._scan(self.bob)
        yield "securejoin-carol", "Carol scans Alice's code", lambda: self._scan(self.carol)
        yield "text", "a text", lambda: self._text("one to one, from Alice")
        yield "receipt", "a read receipt", self._receipt
        yield "reaction", "a reaction", self._reaction
        yield "edit", "an edited text", self._edit
        yield "delete", "a text taken back", self._delete
        yield "quote", "an answer with HTML", self._quote
        yield "picture", "a picture", lambda: self._file("Image", "p.png", _PNG)
        yield "file-20k", "a file of 20 kB", lambda: self._file("File", "f.bin", os.urandom(20_000))
        yield "voice", "a voice message", lambda: self._file("Voice", "v.ogg", os.urandom(3000))
        yield "vcard", "a contact", self._vcard
        yield "webxdc", "an app", lambda: self._file("Webxdc", "app.xdc", _webxdc())
        yield "webxdc-update", "the state of an app", self._webxdc_update
        yield "location", "a place on the map", lambda: self._to_bob(location=[48.0, 7.8])
        yield "call", "a call", self._call
        yield "ephemeral", "disappearing messages", self._ephemeral
        yield "group", "the first message of a group of three", self._group
        yield "group-name", "a new name of the group", self._rename_group
        yield "group-remove", "someone is taken out of the group", self._remove_from_group
        yield "channel-join", "Bob joins Alice's channel", self._join_channel
        yield "channel-text", "a text in the channel: a shared secret instead of keys", self._channel_text
        yield "avatar", "a text with a new picture of the sender", self._avatar
        yield "to-old-key", "a text to a key that knows only SEIPD version 1", self._to_old_key
        yield "own-devices", "what a device tells the other devices of its user", self._own_devices
        yield "file-5m", "a file of 5 MB", lambda: self._file("File", "l.bin", os.urandom(5_000_000))
        yield "file-20m", "a file of 20 MB", lambda: self._file("File", "h.bin", os.urandom(20_000_000))
        yield "old-invite", "Dave scans a code as old apps show it", self._old_invite
        yield "clear", "an unencrypted text", self._clear
        yield "new-key", "Dave begins anew, with another key for his address", self._new_key

    def _scan(self, joiner: App) -> None:
        joiner.do("secure_join", self.alice.do("get_chat_securejoin_qr_code", None))

    def _text(self, text: str) -> None:
        self.alice.send(self.alice.chat_with(self.bob), text)

    def _to_bob(self, **message: Any) -> None:
        self.alice.send(self.alice.chat_with(self.bob), **message)

    def _receipt(self) -> None:
        message = self.bob.last("one to one")
        self.bob.do("accept_chat", self.bob.chat_with(self.alice))
        self.bob.do("markseen_msgs", [message])

    def _reaction(self) -> None:
        self.bob.do("send_reaction", self.bob.last("one to one"), ["👍"])

    def _edit(self) -> None:
        self.alice.do("send_edit_request", self.alice.last("one to one"), "Edited")

    def _delete(self) -> None:
        self.alice.do("delete_messages_for_all", [self.alice.last("Edited")])

    def _quote(self) -> None:
        self._to_bob(quotedText="quoted", html="<b>What only the recipient may read.</b>")

    def _file(self, kind: str, name: str, octets: bytes) -> None:
        path = self.folder / name
        path.write_bytes(octets)
        self._to_bob(file=str(path), viewtype=kind)

    def _vcard(self) -> None:
        self._file("Vcard", "c.vcf", self.alice.do("make_vcard", [self.alice.contact(self.carol)]).encode())

    def _webxdc_update(self) -> None:
        chat = self.alice.chat_with(self.bob)
        (message,) = self.alice.do("get_chat_media", chat, "Webxdc", None, None)
        self.alice.do("send_webxdc_status_update", message, '{"payload": "secret"}', None)

    def _call(self) -> None:
        self.alice.do("place_outgoing_call", self.alice.chat_with(self.bob), "v=0", False)

    def _ephemeral(self) -> None:
        self.alice.do("set_chat_ephemeral_timer", self.alice.chat_with(self.bob), 3600)

    def _group(self) -> None:
        self.group = self.alice.do("create_group_chat", "A group", False)
        for member in (self.bob, self.carol):
            self.alice.do("add_contact_to_chat", self.group, self.alice.contact(member))
        self.alice.send(self.group, "Hello, group")

    def _rename_group(self) -> None:
        self.alice.do("set_chat_name", self.group, "New name")

    def _remove_from_group(self) -> None:
        self.alice.do("remove_contact_from_chat", self.group, self.alice.contact(self.carol))

    def _join_channel(self) -> None:
        self.channel = self.alice.do("create_broadcast", "A channel")
        self.bob.do("secure_join", self.alice.do("get_chat_securejoin_qr_code", self.channel))

    def _channel_text(self) -> None:
        self.alice.do("misc_send_text_message", self.channel, "To all in the channel")

    def _avatar(self) -> None:
        picture = self.folder / "avatar.png"
        picture.write_bytes(_PNG)
        self.alice.do("set_config", "selfavatar", str(picture))
        self._text("With a new face")

    def _to_old_key(self) -> None:
        card = pgp.vcard(BOB, pgp.make_key(BOB))
        (contact,) = self.carol.do("import_vcard_contents", card)
        self.carol.send(self.carol.do("create_chat_by_contact_id", contact))

    def _own_devices(self) -> None:
        self.carol.do("set_config", "bcc_self", "1")
        self.carol.do("set_config", "displayname", "Carola")
        self.carol.do("set_config", "selfstatus", "Hello from two devices")

    def _old_invite(self) -> None:
        code = self.alice.do("get_chat_securejoin_qr_code", None)
        # What old apps' codes lack.
        self.dave.do("secure_join", code.replace("&v=3", ""))

    def _clear(self) -> None:
        self.dave.do("set_config", "force_encryption", "0")
        contact = self.dave.do("create_contact", BOB, None)
        self.dave.send(self.dave.do("create_chat_by_contact_id", contact))

    def _new_key(self) -> None:
        self.dave.do("stop_io")
        self._scan(App(self.dave.rpc, self.host, DAVE, displayname="Dave"))


def make() -> Iterator[Made]:
    """All samples."""
    program = Path(deltachat_rpc_server.__file__).parent / "deltachat-rpc-server"
    with MailHost() as host, tempfile.TemporaryDirectory() as folder:
        rpc: Any = Rpc(accounts_dir=f"{folder}/accounts", rpc_server_path=str(program))
        with rpc:
            version = f"Delta Chat core {rpc.get_system_info()['deltachat_core_version']}"
            for name, about, tell in _Stories(rpc, host, Path(folder)).all():
                before = len(host.submitted)
                tell()
                for number, submitted in enumerate(_submitted(host, before, name), 1):
                    yield _sample(f"core/{name}-{number}", version, about, submitted)


def _submitted(host: MailHost, before: int, name: str) -> list[Submitted]:
    """What a story made the cores submit: all until they have been quiet for a while."""
    deadline = monotonic() + _STORY_SECONDS
    known, since = before, monotonic()
    while known < before + _LEAST.get(name, 1) or monotonic() < since + _QUIET_SECONDS:
        if len(host.submitted) > known:
            known, since = len(host.submitted), monotonic()
        if monotonic() > deadline:
            raise TimeoutError(f"the story {name!r} had {known - before} messages and no end")
        sleep(0.05)
    return host.submitted[before:known]


def _sample(name: str, version: str, about: str, submitted: Submitted) -> Made:
    readable = {TEXT: NONE, "\r\nSecure-Join: vc-request\r\n": SECURE_JOIN}
    kind = next((kind for text, kind in readable.items() if text.encode() in submitted.octets), ENCRYPTED)
    return Sample(name, version, about, kind, kind, submitted.sender, submitted.recipients), submitted.octets


def _webxdc() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.html", "<html>an app</html>")
        archive.writestr("manifest.toml", 'name = "An app"')
    return packed.getvalue()


# The smallest PNG: one pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
