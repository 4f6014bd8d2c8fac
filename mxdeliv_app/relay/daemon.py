"""`mxdeliv-relay`: sends mail to peers by HTTPS, or gives it back to Postfix for SMTP. Socket-activated,
stopped by SIGTERM.

Sockets: `lmtp` (Postfix's default transport), `https-only` (SMTP, the fallback relay of smtp(8)),
`recipient-policy` (a policy service, asked at submission) and `dns-filter` (smtp(8)'s filter of DNS replies).
If the program is killed during a delivery, Postfix got no reply and still has the mail.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version

import click
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.processes.prefork import stop_requested
from chatmail_milter.store import checkpoint, fault
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import existing_store
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.policies import Policies
from chatmail_milter.store.pseudonyms import load_key
from chatmail_milter.store.refusals import Refusals
from chatmail_milter.store.routes import Routes
from chatmail_milter.systemd import listening_or_exit, log_to_stderr
from mxdeliv_app.https.allowed_addresses import AllowedAddresses
from mxdeliv_app.https.dial import OwnHost, dialer
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.post import HttpsPool, Timeouts
from mxdeliv_app.https.resolver import NameTroubleError, Resolver
from mxdeliv_app.relay.attempt import Collaborators
from mxdeliv_app.relay.breaker import Breaker
from mxdeliv_app.relay.concurrency import PolicyInForce
from mxdeliv_app.relay.deliver import Delivery
from mxdeliv_app.relay.dispatch import Dispatch
from mxdeliv_app.relay.dns_filter import DnsReplyFilter
from mxdeliv_app.relay.domain_cache import DomainCache
from mxdeliv_app.relay.fallback import Fallback
from mxdeliv_app.relay.lmtp import LmtpLimits, LmtpSession
from mxdeliv_app.relay.proofs import Proofs
from mxdeliv_app.relay.queued_message import Mode
from mxdeliv_app.relay.recipient_policy import QuotaStatus, RecipientPolicy
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals
from mxdeliv_app.relay.routing import Router
from mxdeliv_app.relay.stream import SmtpStream
from mxdeliv_app.stats.journal import Follower
from mxdeliv_app.stats.recorder import StatsRecorder
from mxdeliv_app.stats.smtp_log import SmtpWords

_MODES = {"lmtp": Mode.HTTPS_FIRST, "https-only": Mode.HTTPS_ONLY}
_RECIPIENT_POLICY = "recipient-policy"
_DNS_FILTER = "dns-filter"
_REQUIRED = "lmtp"
_TICK = 0.5  # seconds
_GRACE = 10.0  # seconds that stopping takes longer than the longest attempt
_FAREWELL = 2.0  # seconds for the last replies to go out

log = logging.getLogger(__name__)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Relay:
    """The parts of the daemon, and its sessions."""

    def __init__(self, config: Config) -> None:
        relay = config.relay
        engine = existing_store(config.store.url)
        breaker = Breaker()
        self._recorder = StatsRecorder(engine, breaker.open_domains, relay.attempt_timeout)
        policies = Policies(engine)
        self._in_force = PolicyInForce(policies)
        names, guard = Resolver(relay.nameservers), AllowedAddresses(relay.allow_networks)
        own_host = OwnHost(config.mail.host, names)
        dial = dialer(names, guard, own_host, relay.connect_timeout)
        agent = f"mxdeliv-relay/{version('chatmail-milter')}"
        timeouts = Timeouts(relay.attempt_timeout, config.mail.max_relayed_size)
        self._https = HttpsPool(dial, timeouts, agent)
        known = DomainCache(Routes(engine), Endpoints(engine), EndpointHosts(engine))
        where = Router(names, guard, own_host, known.route)
        refusals = RecipientRefusals(Refusals(engine, load_key(), waits=may_wait), config.listen.https_only)
        mailboxes = QuotaStatus(
            config.listen.mailboxes, Accounts(engine).lookup, config.mail.max_relayed_size
        )
        self._recipient_policy = RecipientPolicy(config.mail.domain, where, policies, mailboxes, refusals)
        self._dns_filter = DnsReplyFilter(guard)
        delivery = Delivery(
            where=where,
            tools=Collaborators(
                https=self._https,
                proofs=Proofs(self._https, known),
                known=known,
                recorder=self._recorder,
                breaker=breaker,
                timeouts=timeouts,
                refusals=refusals,
            ),
            fallback=Fallback(config.listen.reinject, config.mail.host),
            smtp_words=SmtpWords(engine).of,
        )
        self._dispatch = Dispatch(delivery, relay.workers, relay.workers_per_domain)
        self._limits = LmtpLimits(config.mail.max_relayed_size, config.mail.max_recipients)
        self._grace = relay.attempt_timeout + _GRACE
        self._journal = Follower(Peers(engine), config.listen.https_only, refusals.logged)
        self._sessions: dict[asyncio.Task[None], tuple[LmtpSession, asyncio.StreamWriter]] = {}

    async def serve(self, listening: dict[str, socket.socket]) -> None:
        """Serves the sockets, given by name, until SIGTERM or SIGINT."""
        stop = stop_requested()
        self._journal.start()
        ticking = asyncio.create_task(self._tick())
        servers = []
        for name, one in listening.items():
            start = asyncio.start_unix_server if one.family == socket.AF_UNIX else asyncio.start_server
            servers.append(await start(self._serving(name), sock=one))
        log.info("event=ready sockets=%s", ",".join(listening))
        await stop.wait()
        log.info("event=stopping sessions=%d", len(self._sessions))
        for server in servers:
            server.close()
        for session, writer in list(self._sessions.values()):
            if session.waiting:
                writer.close()
        await self._dispatch.stop(self._grace)
        if self._sessions:
            await asyncio.wait(self._sessions.keys(), timeout=_FAREWELL)
        ticking.cancel()
        self._journal.stop()
        self._https.close()
        self._recorder.flush()

    def _serving(self, name: str) -> Serve:
        """The protocol handler for the socket of this name."""
        if name == _RECIPIENT_POLICY:
            return self._recipient_policy.serve
        return self._dns_filter.serve if name == _DNS_FILTER else partial(self._session, _MODES[name])

    async def _session(self, mode: Mode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = SmtpStream(reader, writer)
        session = LmtpSession(stream, self._dispatch, self._in_force, self._limits, mode)
        running = asyncio.create_task(session.run())
        self._sessions[running] = (session, writer)
        try:
            await running
        except Exception:
            log.exception("event=session-failed")
            writer.write(codes.OUR_FAULT.reply.encode() + b"\r\n")
        finally:
            del self._sessions[running]
            writer.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            try:
                self._https.sweep()
                await asyncio.to_thread(self._recorder.flush)
            except Exception:
                # It must go on: without it no attempt is ever cut.
                log.exception("event=tick-failed")


@click.command()
@click.option(
    "--listen",
    metavar="NAME=unix:PATH",
    multiple=True,
    help="Listen there, if systemd passes no sockets; also NAME=HOST:PORT. Only lmtp is required.",
)
def main(listen: tuple[str, ...]) -> None:
    """Deliver mail to peers by HTTPS, or give it back to Postfix for SMTP.

    Postfix's transport for remote mail names the socket `lmtp`: `lmtp:unix:chatmail/relay.sock`, as seen
    from its chroot. Mail for peers without HTTPS goes to Postfix's port `listen.reinject`, which needs a
    service in master.cf. Optional are `https-only` (SMTP, the fallback relay of smtp(8)), `recipient-policy`
    (a policy service, asked at submission) and `dns-filter` (smtp(8)'s filter of DNS replies).
    """
    config = load_or_exit()
    log_to_stderr()
    names = {*_MODES, _RECIPIENT_POLICY, _DNS_FILTER}
    found = listening_or_exit("mxdeliv-relay", listen, {_REQUIRED}, names - {_REQUIRED})
    try:
        relay = Relay(config)
    except NameTroubleError as error:
        print(f"mxdeliv-relay: set relay.nameservers: {error}", file=sys.stderr)
        sys.exit(78)  # EX_CONFIG
    except SQLAlchemyError as error:
        print(f"mxdeliv-relay: {fault.explained(error).advice}", file=sys.stderr)
        sys.exit(75)  # EX_TEMPFAIL: a database on another host comes back
    asyncio.run(relay.serve(found))
    checkpoint.finish()
    logging.shutdown()
    # Worker threads whose attempt outlived the grace must not hold the exit; their mail is still Postfix's.
    os._exit(0)
