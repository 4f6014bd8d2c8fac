"""Makes a probe's attempts, at the targets and mail hosts that the relay would use, until one answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chatmail_milter import address
from chatmail_milter.config import Config
from chatmail_milter.store.routes import Route
from chatmail_milter.time_limit import TimeLimit
from chatmail_milter.verdict import Verdict
from mxdeliv_app.https.allowed_addresses import AllowedAddresses
from mxdeliv_app.https.dial import OwnHost
from mxdeliv_app.https.resolver import NameTroubleError, NoSuchDomainError, NullMxError, Resolver
from mxdeliv_app.probe import https, smtp
from mxdeliv_app.probe.connect import Network
from mxdeliv_app.probe.steps import WHOLE, ProbeAttempt
from mxdeliv_app.relay.routing import Router

# RFC 3463: no such mailbox, which is the right answer for a name that nobody has.
_UNKNOWN = " 5.1."


class NowhereError(Exception):
    """There is no host to try; the message says what to do."""


def attempts(
    config: Config,
    route_of: Callable[[str], Route | None],
    envelope: tuple[str, str],
    message: bytes,
    roads: tuple[str, ...],
) -> Iterator[ProbeAttempt]:
    """Makes the attempts in order. `envelope`: canonical sender and recipient. Raises `NowhereError`."""
    sender, recipient = envelope
    domain = address.domain_of(recipient)
    names, guard = Resolver(config.relay.nameservers), AllowedAddresses(config.relay.allow_networks)
    own_host = OwnHost(config.mail.host, names)
    limit = TimeLimit(config.relay.attempt_timeout, WHOLE, what="the probe")

    def network() -> Network:
        # Its own memory of DNS, which is empty: the lookup is timed.
        fresh = Resolver(config.relay.nameservers)
        return Network(fresh, guard, own_host, config.relay.connect_timeout, limit)

    if "https" in roads:
        plan = Router(names, guard, own_host, route_of).plan(domain, None)
        if isinstance(plan, Verdict):
            raise NowhereError(f"see `chatmailctl route`: mail for {domain} goes nowhere: {plan.reply}")
        for target in plan.targets:
            attempt = https.attempt(target, sender, recipient, message, network())
            yield attempt
            if attempt.code is not None or not limit.left:
                break  # as the relay would
    if "smtp" in roads:
        for host in _mail_hosts(names, domain):
            attempt = smtp.attempt(host, sender, recipient, message, network(), config.mail.host)
            yield attempt
            if attempt.code is not None or not limit.left:
                break


def is_expected(attempt: ProbeAttempt, *, made_up: bool) -> bool:
    """Whether the answer shows that mail arrives. `made_up`: the recipient does not exist."""
    if attempt.code is None:
        return False
    # Some servers take everything (madmail drops what it has no user for).
    return attempt.code // 100 == 2 or (made_up and _UNKNOWN in attempt.reply)


def _mail_hosts(names: Resolver, domain: str) -> tuple[str, ...]:
    literal = address.ip_literal(domain)
    if literal is not None:
        return (str(literal),)
    try:
        return names.mail_hosts(domain)
    except NullMxError:
        raise NowhereError(f"nothing to do: {domain} takes no mail (null MX)") from None
    except NoSuchDomainError:
        raise NowhereError(f"correct the domain: there is no {domain}") from None
    except NameTroubleError as error:
        raise NowhereError(f"try again: DNS has no answer for {domain}: {error}") from None
