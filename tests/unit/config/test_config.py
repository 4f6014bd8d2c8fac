"""The configuration: typed, with units, and errors of one line that name the key."""

import json
from pathlib import Path

import pytest

from chatmail_milter import config
from chatmail_milter.config import ConfigError, example

MINIMAL = '[mail]\ndomain = "_a.lab"\n'


def test_a_domain_is_all_that_must_be_said() -> None:
    loaded = config.parse(MINIMAL)
    assert loaded.mail.host == "_a.lab"
    assert loaded.mail.max_message_size == 72 * 1024 * 1024
    assert loaded.relay.attempt_timeout == 30.0
    assert loaded.listen.inject.pair == ("127.0.0.1", 10025)
    assert (loaded.submission.rate_per_minute, loaded.submission.rate_burst) == (60, 10)


def test_sizes_durations_and_networks_are_read_with_their_units() -> None:
    loaded = config.parse(
        MINIMAL
        + 'max_message_size = "5 MB"\n[relay]\nconnect_timeout = "1500ms"\nallow_networks = ["10.0.0.0/8"]\n'
    )
    assert loaded.mail.max_message_size == 5_000_000
    assert loaded.relay.connect_timeout == 1.5
    assert str(loaded.relay.allow_networks[0]) == "10.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[mail]\ndomian = "x"', "mail.domian: no such key; the nearest is mail.domain"),
        (MINIMAL + "[relya]\n", "relya: no such key; the nearest is relay"),
        (MINIMAL + "max_message_size = 5", "mail.max_message_size: wants a number with a unit"),
        (MINIMAL + 'max_message_size = "5 parsecs"', "mail.max_message_size: wants a number with a unit"),
        (MINIMAL + 'max_recipients = "many"', "mail.max_recipients: Expected `int`, got `str`"),
        ('[mail]\ndomain = "no spaces"', "mail.domain: the domain is malformed"),
        (MINIMAL + 'chat_domains = ["b.lab"]', "mail: chat_domains: wants `domain` among them"),
        (MINIMAL + 'chat_domains = ["_a.lab", "no spaces"]', "mail.chat_domains[1]: the domain is malformed"),
        ('[mail]\ndomain = ""', "mail.domain: the domain is malformed"),
        (MINIMAL + "[submission]\nrate_per_minute = -1", "submission.rate_per_minute: Expected `int` >= 0"),
        (MINIMAL + "[submission]\nrate_burst = 0", "submission.rate_burst: Expected `int` >= 1"),
        (MINIMAL + '[submission]\nrate_burst = "10"', "submission.rate_burst: Expected `int`, got `str`"),
        (
            MINIMAL + '[inbound]\nip_literals = "lax"',
            "inbound.ip_literals: Invalid enum value 'lax'; it can be strict, open",
        ),
        (
            MINIMAL + "[inbound]\nunsigned = true",
            "inbound.unsigned: Expected `str`, got `bool`; it can be origin, refuse",
        ),
        (
            MINIMAL + '[relay]\nallow_networks = ["10.0.0.1/8"]',
            "relay.allow_networks: 10.0.0.1/8 has host bits set",
        ),
        (MINIMAL + '[push]\ngateway = "http://push.example/"', "push.gateway: wants an https: URL"),
        (MINIMAL + '[push]\ngateway = "https://"', "push.gateway: wants an https: URL"),
        (MINIMAL + '[push]\ngateway = "https://push.example:99999/"', "push.gateway: wants an https: URL"),
        (
            MINIMAL + '[push]\ngateway = "https://me:secret@push.example/"',
            "push.gateway: wants an https: URL",
        ),
        (MINIMAL + '[push]\nwhen = "never"', "push.when: Invalid enum value 'never'"),
        (MINIMAL + "[metadata]\ndeltachat = { a = 1 }", "metadata.deltachat: wants a table of texts"),
        (MINIMAL + '[metadata]\ndeltachat = { A = "x" }', "metadata.deltachat: A: wants lower-case names"),
        (
            MINIMAL + '[metadata]\ndeltachat = { a = "x\\ny" }',
            "metadata.deltachat: a: wants lower-case names",
        ),
        (MINIMAL + '[pages]\ncontact = "a\\u0007"', "pages.contact: wants a text without control characters"),
        (MINIMAL + "[pages]\ncontact = 1", "pages.contact: wants a text"),
        (MINIMAL + "[pages]\nlog_days = -1", "pages.log_days: Expected `int` >= 0"),
        (MINIMAL + '[listen]\ninject = "10025"', "listen.inject: wants host:port"),
        ("mail = 3", "mail: Expected `object`, got `int`"),
        ("", "missing required field `mail`"),
        ("[mail", "is not TOML"),
    ],
)
def test_a_bad_configuration_is_one_line_that_names_the_key(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "chatmail.toml")
    assert str(caught.value).startswith("chatmail.toml: ")
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_program_stops_with_ex_config_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATMAIL_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(SystemExit) as caught:
        config.load_or_exit()
    assert caught.value.code == 78
    assert capsys.readouterr().err.count("\n") == 1


def test_metadata_is_a_table_that_is_written_as_it_is_read() -> None:
    loaded = config.parse(MINIMAL + '[metadata.deltachat]\nirohrelay = "https://iroh.example/?a=\\"b"\n')
    assert loaded.metadata.deltachat == {"irohrelay": 'https://iroh.example/?a="b'}
    assert config.parse(example.render(loaded, documented=False)) == loaded


def test_any_text_is_written_as_it_is_read() -> None:
    text = 'Straße 1\n"\\" \U0001f511 \U00020000'
    loaded = config.parse(MINIMAL + f"[pages]\nprivacy_operator = {json.dumps(text, ensure_ascii=False)}\n")
    assert loaded.pages.privacy_operator == text
    assert config.parse(example.render(loaded, documented=False)) == loaded


def test_phones_are_told_by_the_public_gateway_unless_another_is_set() -> None:
    assert config.parse(MINIMAL).push.gateway == "https://notifications.delta.chat/notify"
    assert float(config.parse(MINIMAL).push.token_lifetime) == 90 * 86400
    assert config.parse(MINIMAL + '[push]\ngateway = ""').push.gateway == ""
