"""The limit on password guesses, through Dovecot and Postfix: which logins it delays and which not."""

from __future__ import annotations

import json
import sys

import pytest

from tests.chat.login import Login as Way
from tests.chat.login import by_imap, by_imap_on_443, by_submission, by_submission_on_443
from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.host import LabHost
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
    ("way", "put_off"),
    [
        (by_imap, "[UNAVAILABLE]"),
        (by_imap_on_443, "[UNAVAILABLE]"),
        (by_submission, "454 4.7.0"),
        (by_submission_on_443, "454 4.7.0"),
    ],
)
def test_where_others_guess_the_right_password_is_put_off_and_elsewhere_its_owner_gets_in(
    lab: Lab, b: LabHost, way: Way, put_off: str
) -> None:
    client = lab.host("client")

    def elsewhere(address: str, password: str) -> str:
        words = [sys.executable, "-c", LOGIN, way.__name__, b.host.ip6, address, password]
        return client.run(words).stdout.strip()

    address, password = fresh_address(b.domain), fresh_password()
    assert way(b.ip, address, password) == "OK"
    words = [f"{PROGRAMS}/python3", "-c", GUESSED]
    b.run(words, input=json.dumps([address, client.host.ip6]))
    assert elsewhere(address, password).startswith(put_off)
    assert way(b.ip, address, password) == "OK"
    # Nobody else in that network is put off.
    assert elsewhere(fresh_address(b.domain), fresh_password()) == "OK"
