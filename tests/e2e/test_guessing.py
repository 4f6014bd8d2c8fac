"""The limit on password guesses, through Dovecot and Postfix: which logins it delays and which not."""

from __future__ import annotations

import json
import sys

import pytest

from tests.chat.login import Login as Way
from tests.chat.login import by_imap, by_imap_on_443, by_submission, by_submission_on_443, by_webimap
from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.plan import PROGRAMS

# As if many passwords of the account had been checked for one network, just now.
GUESSED = """
import ipaddress, json, sys, time
from mxdeliv_app.dovecot.guesses import PATH, Guesses, provider_network
user, address = json.load(sys.stdin)
known = Guesses(PATH)
for _ in range(400):
    known._of_network.charge(f"{user} {provider_network(ipaddress.ip_address(address))}", time.monotonic())
"""


# Where it is from is another network than this test's: the host `client` has IPv6.
LOGIN = "import sys; from tests.chat import login; print(getattr(login, sys.argv[1])(*sys.argv[2:]))"


@pytest.mark.parametrize(
    ("at", "way", "put_off"),
    [
        ("b", by_imap, "[UNAVAILABLE]"),
        ("b", by_imap_on_443, "[UNAVAILABLE]"),
        ("b", by_submission, "454 4.7.0"),
        ("b", by_submission_on_443, "454 4.7.0"),
        ("a", by_webimap, "503 try again later"),
    ],
)
def test_where_others_guess_the_right_password_is_put_off_and_elsewhere_its_owner_gets_in(
    lab: Lab, at: str, way: Way, put_off: str
) -> None:
    client, host = lab.host("client"), lab.host(at)

    def elsewhere(address: str, password: str) -> str:
        words = [sys.executable, "-c", LOGIN, way.__name__, host.host.ip6, address, password]
        return client.run(words).stdout.strip()

    address, password = fresh_address(host.domain), fresh_password()
    assert way(host.ip, address, password) == "OK"
    words = [f"{PROGRAMS}/python3", "-c", GUESSED]
    host.run(words, input=json.dumps([address, client.host.ip6]))
    assert elsewhere(address, password).startswith(put_off)
    assert way(host.ip, address, password) == "OK"
    # Nobody else in that network is put off.
    assert elsewhere(fresh_address(host.domain), fresh_password()) == "OK"
