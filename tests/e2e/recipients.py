"""The table of spellings of a recipient, with the reply of each entry point.

A final refusal that is known at once comes at RCPT from the ports for peers, and as the answer to `/mxdeliv`.
On submission RCPT is never refused, because the app would fail the message for all of its recipients: a
recipient alone is refused at DATA, one of several comes back as a bounce.
"""

from __future__ import annotations

from dataclasses import dataclass

MALFORMED = "501 5.1.3 "  # RFC 5321, 4.1.2; RFC 3463, X.1.3
UNKNOWN = "550 5.1.1 "
NOT_OURS = "554 5.7.1 "


@dataclass(frozen=True)
class Refused:
    """A recipient that can't be delivered to. In `text`, {user} is the local part of an account of {domain}.

    `smtp`, `https` and `alone` are how the replies begin; `status` is that of the bounce, and `named` is the
    recipient there, where it isn't `text`.
    """

    name: str
    text: str
    smtp: str
    https: str
    alone: str
    status: str
    named: str = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _unknown(name: str, text: str, smtp: str = UNKNOWN, https: str = UNKNOWN, named: str = "") -> Refused:
    return Refused(name, text, smtp, https, UNKNOWN, "5.1.1", named)


def _malformed(
    name: str, text: str, named: str = "", smtp: str = MALFORMED, https: str = MALFORMED
) -> Refused:
    return Refused(name, text, smtp, https, "550 5.1.3 ", "5.1.3", named)


def _elsewhere(name: str, text: str, alone: str, named: str = "") -> Refused:
    return Refused(name, text, NOT_OURS, NOT_OURS, f"{alone} ", alone.partition(" ")[2], named)


REFUSED = (
    _unknown("no account", "nobody1234@{domain}"),
    # RFC 5233 is not promised: an account is what its address says.
    _unknown("detail", "{user}+tag@{domain}"),
    # RFC 5321, 4.5.1. Over HTTPS every recipient has a domain (docs/wire.md, 2.1).
    _unknown("bare postmaster", "postmaster", https=MALFORMED, named="postmaster@{domain}"),
    _unknown("bare Postmaster", "Postmaster", https=MALFORMED, named="postmaster@{domain}"),
    _unknown("postmaster", "postmaster@{domain}"),
    _malformed("bare postmaster after a route", "@x:postmaster", named='"<@x:postmaster>"@malformed.invalid'),
    _unknown("the mail system", "mailer-daemon@{domain}"),
    _unknown("sender of Postfix's probes", "double-bounce@{domain}"),
    _unknown("our address as a literal", "{user}@[{ip}]"),
    _unknown("our address without brackets", "{user}@{ip}", named="{user}@[{ip}]"),
    _unknown("loopback", "{user}@[127.0.0.1]"),
    _unknown("loopback of IPv6", "{user}@[IPv6:::1]"),
    _unknown("leading dash", "-{user}@{domain}"),
    _unknown("quoted local part", '"{user} x"@{domain}', https=MALFORMED),
    _unknown("local part too long", "a" * 65 + "@{domain}", https=MALFORMED),
    # Ways through this host to another.
    _unknown("percent", "{user}%mta.lab@{domain}", smtp=NOT_OURS, https=NOT_OURS),
    _unknown("bang", "mta.lab!{user}@{domain}", smtp=NOT_OURS, https=NOT_OURS),
    _malformed("local part not ASCII", "jürgen@{domain}"),
    _malformed("local part not ASCII elsewhere", "jürgen@mta.lab"),
    _malformed("domain not ASCII", "x@bücher.example"),
    _malformed("no UTF-8 either", "j\udcfcrgen@mta.lab", named="j?rgen@mta.lab"),
    _malformed("literal out of range", "x@[300.1.1.1]"),
    _malformed("address out of range", "x@300.1.1.1"),
    _malformed("literal without dots", "x@[1.2.3]"),
    _malformed("literal of IPv6 too long", "x@[IPv6:1:2:3:4:5:6:7:8:9]"),
    _malformed("literal unclosed", "x@[1.2.3.4", named='"x@[1.2.3.4"@malformed.invalid', smtp=NOT_OURS),
    _malformed("label with a dash first", "x@-mta.lab"),
    _malformed("empty label", "x@mta..lab"),
    _malformed("label too long", "x@" + "a" * 64 + ".lab"),
    _malformed("domain too long", "x@" + "a." * 128 + "lab"),
    _malformed("domain a little too long", "x@" + "a." * 125 + "labs", smtp=NOT_OURS),
    _malformed("too long before a last dot", "x@" + "a." * 126 + "labs.", named="x@" + "a." * 126 + "labs"),
    _malformed("at sign before a quote", '@x"y', named='"<@x\'y..."@malformed.invalid'),
    _malformed("no domain", "nobody1234", named="nobody1234@malformed.invalid"),
    _malformed("empty domain", "x@"),
    _malformed(
        "empty domain after ours", "nobody1234@{domain}@", named='"nobody1234@{domain}@"@malformed.invalid'
    ),
    _malformed("no local part", "@{domain}", named='"<@{domain}>"@malformed.invalid'),
    _malformed(
        "two at signs",
        "{user}@mta.lab@{domain}",
        named='"{user}@mta.lab@{domain}"@malformed.invalid',
        smtp=NOT_OURS,
    ),
    _malformed("comment", "{user}(x)@{domain}", named='"{user}(x)@{domain}"@malformed.invalid'),
    # Over HTTPS a comma stands between recipients.
    _malformed(
        "two addresses",
        "nobody1234@{domain},nobody5678@{domain}",
        named='"nobody1234@{domain},nobody5678@{domain}"@malformed.invalid',
        https=UNKNOWN,
    ),
    _malformed("group", "g:x@mta.lab", named='"g:x@mta.lab"@malformed.invalid', smtp=NOT_OURS),
    _malformed("blank", "x y@mta.lab", named='"x y@mta.lab"@malformed.invalid'),
    _malformed("quote unclosed", '"x@mta.lab', named="'x@mta.lab..."),
    _elsewhere("private literal", "x@[10.0.0.1]", "550 5.1.2"),
    _elsewhere("private address without brackets", "x@10.0.0.1", "550 5.1.2", named="x@[10.0.0.1]"),
    _elsewhere("link-local literal", "x@[IPv6:fe80::1]", "550 5.1.2"),
    _elsewhere("localhost", "x@localhost", "550 5.1.2"),
    _elsewhere("subdomain of ours", "x@a.{domain}", "512 5.1.2"),
    # RFC 5321, 5.1.
    _elsewhere("we are its mail host", "x@ours.lab", "550 5.4.6"),
    _elsewhere("it is at our address", "x@ours-too.lab", "550 5.4.6"),
)

# The account's own address in other spellings; over HTTPS no local part is quoted.
DELIVERED = (
    "{user}@{domain}.",
    "{user_upper}@{domain_upper}",
    "@mta.lab:{user}@{domain}",
    '"{user}"@{domain}',
)
DELIVERED_OVER_HTTPS = DELIVERED[:2]
