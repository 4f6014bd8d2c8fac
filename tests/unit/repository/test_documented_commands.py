"""Commands in our pages can be run as they are written: `chatmailctl` as it parses them, units that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import click
import pytest

from chatmail_milter.ctl.main import main as chatmailctl
from tests.unit.repository.test_documents import ROOT, pages

PAGES = {name: text for name, text in pages().items() if name != "CHANGELOG.md"}
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# Up to what the shell takes for another command or a file.
CALLED = re.compile(
    r"(?<![\w/.:-])(?P<name>chatmailctl|systemctl|journalctl|postconf|postqueue|postsuper|doveadm)"
    r"(?P<words>(?: [^`\n|;&)>]+)?)"
)
# What a reader replaces. Values are such that the command takes them.
PLACEHOLDERS = {
    "ADDRESS": "alice123@chat.example.org",
    "DOMAIN": "example.org",
    "MAIL-DOMAIN": "example.org",
    "DIRECTORY": str(ROOT),
    "/var/backups/relay": str(ROOT),
    "FILE": str(ROOT / "setup.cfg"),
    "accounts.jsonl": str(ROOT / "setup.cfg"),
    "ID": "4jcnQD5NFyz15JNb",
    "QUEUE-ID": "4jcnQD5NFyz15JNb",
    "MESSAGE-ID": "<a@example.org>",
    "WORD": "dkim-none",
}
OURS = {
    path.name.removesuffix(".j2")
    for folder in ("roles/*/templates", "roles/*/templates/*", "container")
    for path in (ROOT / "ansible").glob(f"{folder}/*.*")
    if re.search(r"\.(path|service|socket|target|timer)(\.j2)?$", path.name)
}
# With Debian's packages that the roles install.
DEBIAN = {
    "coturn.service", "dovecot.service", "multi-user.target", "nftables.service", "nginx.service",
    "opendkim.service", "postfix.service", "postfix@-.service", "unbound.service",
}  # fmt: skip
# systemctl(1), and which of its options take the next word.
VERBS = {
    "add-wants", "daemon-reload", "disable", "edit", "enable", "is-active", "list-units", "reload", "restart",
    "start", "status", "stop", "try-restart",
}  # fmt: skip
# Options and sub-commands that we name, as postconf(1), postqueue(1), postsuper(1) and doveadm(1) have them.
KNOWN = {
    "postconf": {"-e", "-h", "-n", "-x", "-P", "-M"},
    "postqueue": {"-f", "-i", "-j", "-p"},
    "postsuper": {"-d", "-h", "-H", "-r"},
    "doveadm": {"backup", "fetch", "kick", "pw", "who"},
}


def called(name: str) -> Iterator[tuple[str, list[str], bool]]:
    """Where `name` is called, with which arguments, and whether in a block: a span may leave some out."""
    for page, text in PAGES.items():
        for block in BLOCK.finditer(text):
            # Of a file's contents, where a page writes one.
            if block["kind"].strip() not in ("", "console", "sh", "bash"):
                continue
            for line in block["text"].splitlines():
                yield from ((f"{page}: {line}", words, True) for words in _calls(name, line))
        for span in SPAN.findall(BLOCK.sub("", text)):
            yield from ((f"{page}: {span}", words, False) for words in _calls(name, span))


def _calls(name: str, text: str) -> Iterator[list[str]]:
    for found in CALLED.finditer(text):
        if found["name"] == name:
            yield shlex.split(found["words"], comments=True)


CHATMAILCTL = [*called("chatmailctl")]


def test_there_are_commands_of_each_kind() -> None:
    assert len({tuple(words) for _, words, is_line in CHATMAILCTL if is_line}) > 60
    assert len(OURS) > 30
    for name in ("systemctl", "journalctl", "doveadm", "postqueue", "postconf"):
        assert [*called(name)], name


@pytest.mark.parametrize(
    ("where", "words"), [(where, words) for where, words, is_line in CHATMAILCTL if is_line]
)
def test_each_line_of_a_block_is_a_whole_command_of_chatmailctl(where: str, words: list[str]) -> None:
    """Its sub-command, options and arguments, and values that these take."""
    if "…" in words:
        _name(words, where)
        return
    _parse(chatmailctl, [PLACEHOLDERS.get(word, word) for word in words], None)


@pytest.mark.parametrize(
    ("where", "words"), [(where, words) for where, words, is_line in CHATMAILCTL if not is_line]
)
def test_each_span_names_a_command_of_chatmailctl_and_its_options(where: str, words: list[str]) -> None:
    """Arguments may be left out."""
    _name(words, where)


@pytest.mark.parametrize("words", [["queue", "flsh"], ["queue", "flush", "--ids", "x"], ["route", "set"]])
def test_a_command_that_is_not_there_or_not_whole_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        _parse(chatmailctl, words, None)


def test_each_unit_that_systemctl_is_given_exists() -> None:
    given = set()
    for where, words, _ in called("systemctl"):
        plain = [word for word in words if not word.startswith("-")]
        if "--failed" in words or not plain:
            continue
        verb, *units = plain
        assert verb in VERBS, where
        given |= {(unit, where) for unit in units}
    assert len({unit for unit, _ in given}) > 20
    assert {(unit, where) for unit, where in given if not _exists(unit)} == set()


def test_each_unit_whose_journal_is_read_exists() -> None:
    given = set()
    for where, words, _ in called("journalctl"):
        given |= {(unit, where) for option, unit in pairwise(words) if option in ("-u", "--unit")}
        given |= {(word.removeprefix("--unit="), where) for word in words if word.startswith("--unit=")}
    assert len({unit for unit, _ in given}) > 3
    assert {(unit, where) for unit, where in given if not _exists(unit)} == set()


@pytest.mark.parametrize("name", KNOWN)
def test_programs_of_postfix_and_dovecot_are_given_what_they_know(name: str) -> None:
    for where, words, _ in called(name):
        # A span may name the program alone.
        assert not words or KNOWN[name] & {*words}, where


def _exists(unit: str) -> bool:
    """Whether a unit is ours or Debian's: by a pattern, as an instance, and `.service` may be left out."""
    name = unit if re.search(r"\.(path|service|socket|target|timer)$", unit) else f"{unit}.service"
    known = OURS | DEBIAN | _written()
    if "*" in unit:
        return any(fnmatchcase(one, unit) for one in known)
    return name in known or re.sub("@.+([.])", r"@\1", name) in known


def _written() -> set[str]:
    """Units that a page has the operator write."""
    kinds = (Path(block["kind"].split()[-1]) for text in PAGES.values() for block in BLOCK.finditer(text)
             if block["kind"].strip())  # fmt: skip
    return {path.name for path in kinds if path.parent == Path("/etc/systemd/system")}


def _parse(command: click.Command, words: list[str], parent: click.Context | None) -> None:
    """Parses, and runs nothing. Raises `click.UsageError`."""
    context = command.make_context(command.name, list(words), parent)
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        _, inner, left = command.resolve_command(context, rest)
        assert inner is not None
        _parse(inner, left, context)


def _name(words: list[str], where: str) -> None:
    """Sees that the command which `words` call is there, and its options, as far as they are written out."""
    command: click.Command = chatmailctl
    rest = iter(words)
    for word in rest:
        if word == "…":
            return
        if word.startswith("--"):
            option = next((one for one in command.params if word in (*one.opts, *one.secondary_opts)), None)
            assert option is not None or word in ("--help", "--version"), where
            if isinstance(option, click.Option) and not option.is_flag:
                next(rest, None)
        elif isinstance(command, click.Group) and re.fullmatch("[a-z-]+", word):
            inner = command.get_command(click.Context(command), word)
            assert inner is not None, where
            command = inner
