"""DKIM-Signature fields: how they are parsed, and which of them can count."""

from __future__ import annotations

import pytest

from chatmail_milter.rules.signature import Flaw, is_plain, parse, unsigned_value

GOOD = (
    b" v=1; a=rsa-sha256; c=relaxed/simple; d=B.example;\n\ts=Chatmail; t=1; bh=ab c=;\n\t"
    b"h=From:To : Date:From;\n\tb=Ab+/\n\t cd=="
)

# The fields that providers sign, as they stand in mail of theirs to public lists and in published test data.
PROVIDERS = {
    "gmail.com": "content-transfer-encoding:in-reply-to:autocrypt:content-language\n         :from:references"
    ":to:subject:user-agent:mime-version:date:message-id\n         :from:to"
    ":cc:subject:date:message-id:reply-to",
    "gmail.com, from the web": "to:subject:message-id:date:from:mime-version:from:to:cc:subject\n         "
    ":date:message-id:reply-to",
    "outlook.com": "From:Date:Subject:Message-ID:Content-Type:MIME-Version:X-MS-Exchange-SenderADCheck",
    "yahoo.com": "Date:From:Reply-To:Subject:References:From:Subject",
    "aol.com": "From:To:Cc:Subject:Date:In-Reply-To:References:From:Subject:Reply-To",
    "icloud.com": "From:Date:Subject:MIME-Version:Content-Type:Message-Id:To:x-icloud-hme",
    "protonmail.com": "Date:To:From:Subject:Message-ID:Feedback-ID:From:To:Cc:Date:\t Subject:Reply-To"
    ":Feedback-ID:Message-ID:BIMI-Selector",
    "gmx.net": "X-UI-Sender-Class:From:To:Cc:Subject:Date",
    "web.de": "X-UI-Sender-Class:Date:Subject:From:To:Cc:References:\n\t In-Reply-To",
    "posteo.de": "To:From:Subject:Date:From",
    "mailbox.org": "from:from:reply-to:subject:subject:date:date:message-id:message-id:\n\t to:to:cc:cc"
    ":mime-version:mime-version",
    "riseup.net": "From:To:Cc:Subject:Date:From",
    "mail.ru": "Content-Transfer-Encoding:MIME-Version:Message-Id:Date:Subject:Cc:To:From",
    "yandex.ru": "Message-ID:Date:Cc:Subject:To:From",
    "qq.com": "From:To:Cc:Subject:Date",
    "163.com": "From:Content-Type:Mime-Version:Subject:Message-Id: Date",
    "facebookmail.com": "Date:To:Subject:From:MIME-Version:Content-Type",
    "github.com": "Date:From:To:Subject:From",
    "amazonses.com": "MIME-Version:Content-Type:Content-Transfer-Encoding:Subject:From:To:Date:Message-ID"
    ":Feedback-ID",
}


def test_a_signature_as_values() -> None:
    found = parse(GOOD)
    assert found is not None
    assert (found.domain, found.selector, found.algorithm) == ("b.example", "chatmail", "rsa-sha256")
    assert (found.signature, found.body_hash) == ("Ab+/cd==", "abc=")
    assert (found.header_form, found.body_form) == ("relaxed", "simple")
    assert found.fields == ("from", "to", "date", "from")
    assert (found.has_length, found.expires, found.identity_is_domain) == (False, None, True)
    assert found.flaw is None


@pytest.mark.parametrize(
    ("written", "forms"),
    [
        (b"c=simple/relaxed", ("simple", "relaxed")),
        (b"c=Relaxed/Relaxed", ("relaxed", "relaxed")),
        (b"c=relaxed", ("relaxed", "simple")),
        (b"x=1", ("simple", "simple")),
    ],
)
def test_canonical_forms_and_their_defaults(written: bytes, forms: tuple[str, str]) -> None:
    found = parse(GOOD.replace(b"c=relaxed/simple", written))
    assert found is not None
    assert (found.header_form, found.body_form) == forms


@pytest.mark.parametrize("fields", PROVIDERS.values(), ids=PROVIDERS)
def test_what_providers_sign_is_enough(fields: str) -> None:
    found = parse(GOOD.replace(b"From:To : Date:From", fields.encode()))
    assert found is not None
    assert found.flaw is None


@pytest.mark.parametrize(
    ("replaced", "by", "flaw"),
    [
        (b"rsa-sha256", b"rsa-sha1", "dkim-algorithm"),
        (b"rsa-sha256", b"RSA-SHA1", "dkim-algorithm"),
        (b"rsa-sha256", b"rsa-sha512", "dkim-algorithm"),
        (b"a=rsa-sha256;", b"", "dkim-algorithm"),
        (b"t=1", b"l=100", "dkim-length"),
        (b"t=1", b"l=0", "dkim-length"),
        (b"From:To : Date:From", b"From", "dkim-fields"),
        (b"From:To : Date:From", b"From:From:From", "dkim-fields"),
        (b"From:To : Date:From", b"From:To:Subject:Content-Type", "dkim-fields"),
        (b"From:To : Date:From", b"Date:Message-ID:To", "dkim-fields"),
        (b"From:To : Date:From", b"", "dkim-fields"),
        (b"From:To : Date:From", b"From:Message-ID", None),
        (b"From:To : Date:From", b"from:date", None),
        (b"rsa-sha256", b"ed25519-sha256", None),
    ],
)
def test_what_counts(replaced: bytes, by: bytes, flaw: str | None) -> None:
    found = parse(GOOD.replace(replaced, by))
    assert found is not None
    assert found.flaw == (None if flaw is None else Flaw(flaw))


@pytest.mark.parametrize(
    ("replaced", "by"),
    [
        (b"v=1;", b""),
        (b"v=1;", b"v=2;"),
        (b"t=1", b"v=1"),
        (b"t=1", b"d=b.example"),
        (b"t=1", b"novalue"),
        (b"t=1", b"1x=2"),
        (b"t=1", b"q=dns/other"),
        (b"t=1", b"i=@c.example"),
        (b"t=1", b"i=x@ab.example"),
        (b"t=1", b"i=b.example"),
        (b"t=1", b"x=tomorrow"),
        (b"relaxed/simple", b"nowsp"),
        (b"relaxed/simple", b"relaxed/simple/simple"),
        (b"d=B.example;", b""),
        (b"d=B.example;", b"d=b.example c.example;"),
        (b"s=Chatmail;", b""),
        (b"bh=ab c=;", b""),
        (b"bh=ab c=;", b"bh=a!;"),
        (b"b=Ab+/", b"b=A\xff"),
    ],
)
def test_what_is_no_signature(replaced: bytes, by: bytes) -> None:
    assert replaced in GOOD
    assert parse(GOOD.replace(replaced, by)) is None


@pytest.mark.parametrize("raw", [b"", b";", b"=", b";" * 100_000, b"a" * 100_000, b"\xff\0", b"v=1" * 30_000])
def test_hostile_fields_are_no_signatures(raw: bytes) -> None:
    assert parse(raw) is None


@pytest.mark.parametrize(
    ("raw", "signed"),
    [
        (b"v=1; b=AB\n\tCD; h=from", b"v=1; b=; h=from"),
        (b"v=1; b = AB \n ;h=from", b"v=1; b =;h=from"),
        (b"v=1; bh=AB; b=CD=\n", b"v=1; bh=AB; b="),
        (b"b=AB; bh=CD", b"b=; bh=CD"),
    ],
)
def test_only_the_value_of_b_is_left_out_of_what_is_signed(raw: bytes, signed: bytes) -> None:
    assert unsigned_value(raw) == signed


@pytest.mark.parametrize(
    ("tags", "plain"),
    [
        (b"d=b.example; s=chatmail", True),
        (b"d=b.example; i=@b.example", True),
        (b"d=b.example; i=joe+x=3Dy@b.example", True),
        (b"d=b.example;\n\ti=@b.example;", True),
        (b"d=b.example x.c.example", False),
        (b"d=b.example\xff", False),
        (b"s=a b", False),
        (b"s=a(b", False),
        (b"a=rsa-sha256 header.d=b.example", False),
        (b'b=AB"CD', False),
        (b"i=x=3B=20dkim=3Dpass=20header.d=3Db.example@c.example", False),
        (b"i=x=3b@c.example", False),
        (b"i=x header.d=b.example@c.example", False),
        (b"i=x=28@c.example", False),
        (b"i==22x=22@c.example", False),
        (b"i=x=0D=0A=20@c.example", False),
    ],
)
def test_signatures_that_could_mislead(tags: bytes, plain: bool) -> None:
    assert is_plain(b"v=1; a=rsa-sha256; " + tags + b"; b=AA\n\tAA") is plain
