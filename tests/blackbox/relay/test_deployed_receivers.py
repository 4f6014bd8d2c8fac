"""Answers of each deployed kind of server, in its exact words, and the relay's reply to Postfix for each."""

from __future__ import annotations

import pytest

from tests.blackbox.relay.installed_relay import InstalledRelay, ScriptedPeer, answer, deliver, lmtp

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
ENCRYPTION = "Encryption Needed: Invalid Unencrypted Mail"

# madmail v2: a word in the body, no Content-Type, and no SMTP reply in any refusal.
MADMAIL_2 = {
    (200, b"OK"): HTTPS,
    (400, b"No recipients"): SMTP,
    (403, b"Forbidden"): SMTP,
    (403, b"Encryption Needed: Invalid Unencrypted Mail"): SMTP,
    (413, b"Payload Too Large"): SMTP,
    (500, b"Internal Server Error"): SMTP,
    (507, b"Insufficient Storage"): SMTP,
}
# madmail v1, in Go: 404 when no recipient is valid, as http.Error and ServeMux write it.
MADMAIL_1 = {
    (200, b"OK"): HTTPS,
    (200, b"OK\n"): HTTPS,
    (404, b"404 page not found\n"): SMTP,
    (404, b"User not found\n"): SMTP,
    (500, b"Internal Server Error\n"): SMTP,
}
# filtermail: each refusal is a 400 with the SMTP reply, permanent or temporary.
FILTERMAIL = {
    (200, b"250 OK"): HTTPS,
    (400, b"523 " + ENCRYPTION.encode()): (523, f"5.7.1 {ENCRYPTION}"),
    (400, b"554 5.7.1 No DKIM signature found"): (554, "5.7.1 No DKIM signature found"),
    (400, b"554 5.7.1 No valid DKIM signature found"): (554, "5.7.1 No valid DKIM signature found"),
    (400, b"500 Invalid FROM <a@b.test> for <c@b.test>"): (
        500,
        "5.7.1 Invalid FROM <a@b.test> for <c@b.test>",
    ),
    (400, b"550 5.1.1 <ann@d.test>: Recipient address rejected: User unknown"): (
        550,
        "5.1.1 <ann@d.test>: Recipient address rejected: User unknown",
    ),
    (400, b"451 4.3.0 Error: queue file write error"): (451, "4.3.0 Error: queue file write error"),
    (400, b"450 4.7.1 Error: Too much mail from u@_here.test"): (
        450,
        "4.7.1 Error: Too much mail from u@_here.test",
    ),
    (405, b""): SMTP,
    (413, b""): SMTP,
}
# What stands in front of any of them, or has never heard of mail.
FRONT = {
    (200, b"<!doctype html><title>Welcome</title>"): SMTP,
    (200, b""): SMTP,
    (200, b'{"status": "ok"}'): SMTP,
    (301, b"<html>301 Moved Permanently</html>"): SMTP,
    (302, b""): SMTP,
    (307, b""): SMTP,
    (308, b""): SMTP,
    (401, b""): SMTP,
    (404, b"<html>404 Not Found</html>"): SMTP,
    (405, b"<html>405 Not Allowed</html>"): SMTP,
    (413, b"<html>413 Request Entity Too Large</html>"): SMTP,
    (421, b"421 Misdirected Request"): SMTP,
    (429, b"Too Many Requests"): SMTP,
    (502, b"<html>502 Bad Gateway</html>"): SMTP,
    (503, b"<html>503 Service Temporarily Unavailable</html>"): SMTP,
    (503, b"503 Service Unavailable"): SMTP,
    (504, b"504 Gateway Time-out"): SMTP,
    (502, b"502 5.2.0 Bad gateway"): SMTP,
    (502, b"451 4.3.2 Service is restarting\r\n"): SMTP,
    (404, b"500 Invalid FROM"): SMTP,
    # And one of ours, which says it so that the mail waits.
    (503, b"451 4.3.0 Mail queue can't be reached, try again later\r\n"): (
        451,
        "4.3.0 Mail queue can't be reached, try again later",
    ),
}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(status, body, expected, id=f"{kind} {status} {body[:24].decode()}")
        for kind, answers in (
            ("madmail2", MADMAIL_2),
            ("madmail1", MADMAIL_1),
            ("filtermail", FILTERMAIL),
            ("front", FRONT),
        )
        for (status, body), expected in answers.items()
    ],
)
def test_answers_of_receivers(
    relay: InstalledRelay,
    peer: ScriptedPeer,
    domain: str,
    status: int,
    body: bytes,
    expected: tuple[int, str],
) -> None:
    peer.script = (
        answer(status, body, Location="https://127.0.0.2/elsewhere")
        if status // 100 == 3
        else answer(status, body)
    )
    assert deliver(relay, f"ann@{domain}") == [expected]
    assert len(peer.seen) == 1, "no redirect is followed, and nothing is said twice"
    assert len(relay.sink.taken) == (expected == SMTP)


class TestRequests:
    """What every kind of server reads."""

    def test_one_post_has_lower_case_bare_addresses_and_no_more_than_they_look_at(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        deliver(relay, f"Ann@{domain.upper()}", f"bob@{domain}", sender="U@_HERE.test")
        (seen,) = peer.seen
        assert [(name, value) for name, value in seen.headers if name not in ("User-Agent",)] == [
            ("Host", domain),
            ("X-Mail-From", "u@_here.test"),
            ("X-Mail-To", f"ann@{domain}"),
            ("X-Mail-To", f"bob@{domain}"),
            ("Accept", "application/json, text/plain"),
            ("Accept-Encoding", "identity"),
            ("Content-Length", str(len(seen.body))),
        ]

    def test_a_literal_is_its_own_host_and_stays_in_brackets_in_addresses(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        deliver(relay, "ann@127.0.0.2", sender="u@192.0.2.1")
        (seen,) = peer.seen
        assert seen.values("Host") == ["127.0.0.2"]
        assert seen.values("X-Mail-To") == ["ann@[127.0.0.2]"]
        assert seen.values("X-Mail-From") == ["u@[192.0.2.1]"]

    def test_an_idn_domain_is_asked_for_by_its_a_label(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        relay.dns.zone["_a.xn--fa-hia.test", "A"] = ["127.0.0.2"]
        relay.dns.zone["_a.fass.test", "A"] = ["127.0.0.9"]
        with lmtp(relay) as client:
            client.command_encoding = "utf-8"
            assert client.deliver("ann@_a.faß.test") == [HTTPS]
        assert peer.seen[0].values("X-Mail-To") == ["ann@_a.xn--fa-hia.test"]
        assert peer.seen[0].values("Host") == ["_a.xn--fa-hia.test"]
