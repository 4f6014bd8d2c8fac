"""Registration: valid names, tokens, a machine without capacity, the rate limit."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest
import requests

from tests.chat import relay, settings
from tests.chat.login import Login, by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e import conftest
from tests.lab.host import LabHost

PASSWORD = "long enough password"
LOGINS = pytest.mark.parametrize("login", [by_imap, by_submission], ids=["imap", "submission"])


def _accounts(host: LabHost) -> set[str]:
    return {row["address"] for row in relay.ctl(host, "account", "list")}


def _new(host: LabHost, query: str = "") -> requests.Response:
    return _ask(host, "POST", f"/new{query}", host.domain)


def _ask(host: LabHost, method: str, path: str, name: str) -> requests.Response:
    with warnings.catch_warnings(), requests.Session() as session:
        warnings.simplefilter("ignore")
        # Nor by what the environment says: it is the lab's own certificate.
        session.verify = session.trust_env = False
        return session.request(method, f"https://{host.ip}{path}", headers={"Host": name}, timeout=120)


ODD = [
    "someone12345@_a.lab",
    "someone12345@elsewhere.example",
    "someone12345@sub._b.lab",
    "someone12345",
    "@_b.lab",
    "some%one12345@_b.lab",
    "some'one1234@_b.lab",
    'some"one1234@_b.lab',
    "some\\one1234@_b.lab",
    "some one1234@_b.lab",
    "../../one1234@_b.lab",
    "someone..123@_b.lab",
    "sömeone12345@_b.lab",
    "someone12345@_b.lab@_b.lab",
    "someone+1234@_b.lab",
    "x" * 21 + "@_b.lab",
    "x" * 1200 + "@_b.lab",
    "x" * 6000 + "@_b.lab",
]


@LOGINS
def test_odd_names_are_refused_for_good_and_make_nothing(b: LabHost, login: Login) -> None:
    before = _accounts(b)
    with ThreadPoolExecutor(len(ODD)) as pool:
        said = dict(zip(ODD, pool.map(lambda user: login(b.ip, user, PASSWORD), ODD), strict=True))
    final = "5" if login is by_submission else ""
    wrong = {user[:40]: line for user, line in said.items() if line == "OK" or not line.startswith(final)}
    assert wrong == {}
    assert not [line for line in said.values() if "UNAVAILABLE" in line]
    assert _accounts(b) == before


# Latin-1, octets that are in no UTF-8, and what takes more than 16 KiB as JSON.
UNREADABLE = [b"p\xe4ssword \xfc\xdf \xff", b"\xff" * 300, b"\x01" * 4000]


@LOGINS
def test_a_password_that_can_not_be_read_is_refused_for_good(
    b: LabHost, reader: conftest.Login, login: Login
) -> None:
    before = _accounts(b)
    passwords = [one.decode("utf-8", "surrogateescape") for one in UNREADABLE]
    tries = [(user, one) for one in passwords for user in (fresh_address(b.domain), reader[0])]
    with ThreadPoolExecutor(len(tries)) as pool:
        said = list(pool.map(lambda one: login(b.ip, *one), tries))
    final = "535" if login is by_submission else "[AUTHENTICATIONFAILED]"
    assert [line for line in said if not line.startswith(final)] == []
    assert _accounts(b) == before


@LOGINS
def test_upper_case_is_the_same_account(b: LabHost, login: Login) -> None:
    address, password = fresh_address(b.domain, "up"), fresh_password()
    assert login(b.ip, address.upper(), password) == "OK"
    assert login(b.ip, address, password) == "OK"
    assert login(b.ip, address.title(), fresh_password()) != "OK"
    [row] = [one for one in relay.ctl(b, "account", "list") if one["address"].lower() == address]
    assert (row["address"], row["last_login"]) == (address, row["created"])


def test_ten_first_logins_on_both_roads_make_one_account(b: LabHost) -> None:
    address = fresh_address(b.domain)
    tries = [(login, fresh_password()) for login in (by_imap, by_submission) for _ in range(5)]
    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(lambda one: one[0](b.ip, address, one[1]), tries))
    assert said.count("OK") == 1
    password = tries[said.index("OK")][1]
    assert by_imap(b.ip, address, password) == "OK"


def test_by_token_accounts_are_made_at_new_and_nowhere_else(b: LabHost, stage: Stage) -> None:
    with settings.changed(b, "registration", '"token"'):
        stranger = fresh_address(b.domain)
        assert by_imap(b.ip, stranger, PASSWORD) != "OK"
        assert by_submission(b.ip, stranger, PASSWORD).startswith("535")
        for query in ("", "?token=x"):
            refused = _new(b, query)
            assert (refused.status_code, list(refused.json())) == (403, ["reason"])
        token = relay.ctl(b, "token", "create", "--uses", "2", "--expires", "1h")
        query = "?" + token["link"].partition("?")[2]
        made = _new(b, query)
        assert made.status_code == 200
        email, password = made.json()["email"], made.json()["password"]
        assert by_submission(b.ip, email, password) == "OK"
        assert by_imap(b.ip, email, fresh_password()) != "OK"
        # The real client, with the link as it is.
        account = stage.core.rpc.add_account()
        stage.core.rpc.add_transport_from_qr(account, token["link"])
        assert stage.core.rpc.get_config(account, "configured_addr") in _accounts(b)
        stage.core.rpc.remove_account(account)
        assert _new(b, query).status_code == 403
        assert stranger not in _accounts(b)
        [listed] = [row for row in relay.ctl(b, "token", "list") if row["id"] == token["id"]]
        assert (listed["used"], listed["spent"]) == (2, True)
        relay.operate(b, "token", "remove", token["id"])
    assert by_imap(b.ip, email, password) == "OK"


def test_manual_the_user_makes_an_account_and_an_app_by_itself_none(b: LabHost, stage: Stage) -> None:
    with settings.changed(b, "registration", '"manual"'):
        by_app = fresh_address(b.domain), "x" * 23
        said = by_imap(b.ip, *by_app)
        assert said != "OK"
        assert "UNAVAILABLE" not in said
        assert by_submission(b.ip, *by_app).startswith("535")
        assert by_app[0] not in _accounts(b)
        by_hand = fresh_address(b.domain)
        assert by_imap(b.ip, by_hand, "x" * 22) == "OK"
        account = stage.core.rpc.add_account()
        stage.core.rpc.add_transport_from_qr(account, f"dcaccount:https://{b.domain}/new")
        assert stage.core.rpc.get_config(account, "configured_addr") in _accounts(b)
        stage.core.rpc.remove_account(account)
    assert by_imap(b.ip, *by_app) == "OK"


def test_closed_the_operator_alone_makes_accounts(b: LabHost, reader: conftest.Login) -> None:
    with settings.changed(b, "registration", '"closed"'):
        before = _accounts(b)
        stranger = fresh_address(b.domain)
        said = by_imap(b.ip, stranger, PASSWORD)
        assert said != "OK"
        assert "UNAVAILABLE" not in said
        assert by_submission(b.ip, stranger, PASSWORD).startswith("535")
        refused = _new(b)
        assert (refused.status_code, list(refused.json())) == (403, ["reason"])
        assert _accounts(b) == before
        made = relay.ctl(b, "account", "create")
        assert by_imap(b.ip, made["address"], made["password"]) == "OK"
        assert by_submission(b.ip, *reader) == "OK"


def test_without_room_new_accounts_wait_and_old_ones_are_served(b: LabHost, reader: conftest.Login) -> None:
    with settings.changed(b, "disk", '"1000000GiB"'):
        stranger = fresh_address(b.domain)
        assert "UNAVAILABLE" in by_imap(b.ip, stranger, PASSWORD)
        assert by_imap(b.ip, *reader) == "OK"
        assert by_submission(b.ip, *reader) == "OK"
        refused = _new(b)
        assert (refused.status_code, list(refused.json())) == (503, ["reason"])
    assert stranger not in _accounts(b)
    assert by_imap(b.ip, stranger, PASSWORD) == "OK"


@pytest.mark.parametrize("path", ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"])
@pytest.mark.parametrize("name", ["{}", "autoconfig.{}"])
def test_clients_find_the_servers(b: LabHost, name: str, path: str) -> None:
    answer = _ask(b, "GET", f"{path}?emailaddress=someone%40{b.domain}", name.format(b.domain))
    assert answer.status_code == 200
    root = ElementTree.fromstring(answer.content)  # noqa: S314  (the lab's own words)
    assert {(one.findtext("hostname"), one.findtext("port")) for one in root.iter("incomingServer")} == {
        (b.domain, "993"),
        (b.domain, "443"),
        (b.domain, "143"),
    }


def test_the_name_that_clients_ask_is_in_the_certificate(b: LabHost) -> None:
    said = b.run("openssl x509 -noout -ext subjectAltName -in /etc/chatmail/tls/fullchain.pem").stdout
    assert f"DNS:autoconfig.{b.domain}" in said


def test_a_link_of_the_operator_logs_the_real_client_in(b: LabHost, stage: Stage) -> None:
    made: dict[str, str] = relay.ctl(b, "account", "create")
    account = stage.core.rpc.add_account()
    assert stage.core.rpc.check_qr(account, made["link"])["kind"] == "login"
    stage.core.rpc.add_transport_from_qr(account, made["link"])
    assert stage.core.rpc.is_configured(account)
    row = relay.ctl(b, "account", "show", made["address"])
    assert row["last_login"] is not None
    stage.core.rpc.remove_account(account)


SCHEMES = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SSHA256", "PBKDF2")


def test_hashes_of_another_relay_are_verified(b: LabHost) -> None:
    password, lines = fresh_password(), []
    for scheme in SCHEMES:
        made = b.run(["doveadm", "pw", "-s", scheme], input=f"{password}\n{password}\n").stdout.split()[-1]
        row = {"address": fresh_address(b.domain), "password_hash": made, "created": "2026-01-02"}
        lines.append(json.dumps(row))
    said = relay.operate(b, "account", "import", "-", input="\n".join(lines))
    assert said == f"Made {len(SCHEMES)} accounts.\n"
    tries = [(json.loads(line)["address"], one) for line in lines for one in (password, fresh_password())]
    with ThreadPoolExecutor(len(tries)) as pool:
        let_in = list(pool.map(lambda login: by_imap(b.ip, *login) == "OK", tries))
    assert dict(zip(tries, let_in, strict=True)) == {login: login[1] == password for login in tries}


def test_a_password_of_the_operator_counts_from_then_on(b: LabHost) -> None:
    address, old, new = fresh_address(b.domain), fresh_password(), fresh_password()
    assert by_imap(b.ip, address, old) == "OK"
    relay.operate(b, "account", "password", address, input=f"{new}\n")
    assert by_imap(b.ip, address, old) != "OK"
    assert by_imap(b.ip, address, new) == "OK"


# The relay's own nginx.conf, but where it listens: nobody else shall be refused. And a tenth of its limit:
# a busy machine would not get there.
SERVE = r"""
grep -q 'zone=new_accounts:10m rate=600r/m;' /etc/nginx/nginx.conf
grep -q 'zone=new_accounts burst=600 nodelay;' /etc/nginx/nginx.conf
sed -e '/zone=new_accounts/s/=600/=60/' \
    -e 's/listen 443;/listen 127.0.0.1:8443;/' -e 's/listen \[::\]:443;/listen [::1]:8443;/' \
    -e 's/:1144\([34]\)/:2144\1/' \
    -e 's/listen 80 /listen 127.0.0.1:8080 /' -e '/listen \[::\]/d' \
    -e 's/^pid .*/pid \/run\/flooded.pid;/' /etc/nginx/nginx.conf > /run/flooded.conf
nginx -q -c /run/flooded.conf > /dev/null 2>&1
"""

# Asks from one /64 until it is refused, then from elsewhere.
FLOOD = """
import http.client, json, ssl
context = ssl._create_unverified_context()

def connect(source, target):
    return http.client.HTTPSConnection(target, 8443, source_address=(source, 0), context=context, timeout=120)

def post(connection, accept):
    connection.request("POST", "/new", headers={"Content-Length": "0", "Accept": accept})
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read().decode(), dict(answer.getheaders())

def ask(connection):
    return post(connection, "*/*")

# A place is free again each second: one that shares the count with the flood is refused soon.
def refused_soon(connection, accept):
    return next((said for _ in range(100) if (said := post(connection, accept))[0] != 200), None)

def look(connection):
    connection.request("GET", "/new", headers={"Accept": "text/html"})
    answer = connection.getresponse()
    answer.read()
    return answer.status

# Who looks at the page has as many accounts left as before: more looks than the limit.
viewer = connect("127.0.0.6", "127.0.0.1")
looks = [look(viewer) for _ in range(70)]

flood = [connect(f"2001:db8:1:2::{i:x}", "::1") for i in (1, 2)]
for asked in range(500):
    refused = ask(flood[asked % 2])
    if refused[0] != 200:
        break
print(json.dumps({
    "looks": sorted(set(looks)),
    "viewer": ask(viewer)[0],
    "granted": asked,
    "refused": refused,
    "neighbour": refused_soon(connect("2001:db8:1:2:ffff::9", "::1"), "application/json, text/html"),
    "browser": refused_soon(flood[0], "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    "another": ask(connect("2001:db8:1:3::1", "::1"))[0],
    "ipv4": ask(connect("127.0.0.5", "127.0.0.1"))[0],
    "looked": look(connect("2001:db8:1:2::1", "::1")),
}))
"""


def test_one_network_gets_so_many_accounts_a_minute_and_others_theirs(b: LabHost) -> None:
    sources = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"]
    for one in sources:
        b.run(f"ip -6 address replace {one}/128 dev lo nodad")
    try:
        b.run(["sh", "-ec", SERVE])
        said = json.loads(b.run(["python3", "-c", FLOOD]).stdout)
    finally:
        b.run("kill $(cat /run/flooded.pid); rm -f /run/flooded.*", check=False)
        for one in sources:
            b.run(f"ip -6 address delete {one}/128 dev lo")
    # 60 a minute, and those that came in while they were asked for.
    assert 60 <= said["granted"] < 300
    for whom in ("refused", "neighbour"):
        status, kind, body, fields = said[whom]
        assert (status, kind, list(json.loads(body))) == (429, "application/json", ["reason"])
        assert (fields["Retry-After"], fields["Vary"]) == ("60", "Accept")
    status, kind, body, fields = said["browser"]
    assert (status, kind) == (429, "text/html; charset=utf-8")
    assert "<h1>" in body
    assert "try again in a minute" in body
    assert (fields["Retry-After"], fields["Vary"]) == ("60", "Accept")
    assert fields["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert (said["another"], said["ipv4"]) == (200, 200)
    assert (said["looks"], said["viewer"], said["looked"]) == ([200], 200, 200)
