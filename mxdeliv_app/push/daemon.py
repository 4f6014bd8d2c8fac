"""The program `chatmail-push`: METADATA for Dovecot, push notifications. Socket-activated, ended by SIGTERM.

Sockets: `metadata` (Dovecot's dict protocol, for its imap processes) and `deliveries` (HTTP on loopback, to
which Dovecot posts an event for each delivered message). Delivery never waits for this program or for the
gateway.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.calls import turn
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.store import fault
from chatmail_milter.store.engine import existing_store
from chatmail_milter.store.push import DeviceTokens, Notices
from chatmail_milter.systemd import listening_or_exit, log_to_stderr
from mxdeliv_app.dovecot.deliveries import DeliveryEvent, delivery_listener, secret_path
from mxdeliv_app.https.connection import Tls
from mxdeliv_app.push.connections import QUERY_TIMEOUT, ConnectedUsers
from mxdeliv_app.push.gateway import PushGateway
from mxdeliv_app.push.metadata import Metadata, metadata_listener
from mxdeliv_app.push.sender import NoticeSender

# The URL to which Dovecot posts deliveries. Its path is secret, so that local users can't trigger
# notifications.
URL_FILE = Path("/etc/chatmail/push.url")
_SOCKETS = {"metadata", "deliveries"}
# How long to retry writing to the database. Dovecot waits a minute for an answer, and does not repeat a
# request.
_STORE_AWAY = 50.0  # seconds
_HOUR = 3600.0

_log = logging.getLogger(__name__)


class Push:
    """The program's parts."""

    def __init__(self, config: Config) -> None:
        engine = existing_store(config.store.url)
        push = config.push
        self._lifetime = timedelta(seconds=push.token_lifetime)
        self._tokens = DeviceTokens(engine, self._lifetime, _today)
        self._notices = Notices(engine)
        self.metadata = Metadata(self._tokens, deltachat_entries(config))
        connected: Callable[[str], bool] = ConnectedUsers(config.listen.connections).has
        if push.when == "always":
            connected = _nobody
        tls, agent = Tls(), f"chatmail-push/{version('chatmail-milter')}"
        self._sender = NoticeSender(
            self._notices,
            self._tokens,
            connected,
            lambda: PushGateway(push.gateway, agent, tls, push.timeout),
            # Two requests, if the gateway had closed the kept connection, and a query to Dovecot.
            lease=2 * push.timeout + QUERY_TIMEOUT,
            retry=push.retry,
            give_up=push.give_up,
        )
        self._silent = not push.gateway
        self._ended = threading.Event()

    def delivered(self, delivery: DeliveryEvent) -> None:
        """Queues notifications for a delivered message. They are committed when this returns."""
        if self._silent or delivery.error or delivery.by_oneself or not address.is_canonical(delivery.user):
            return
        give_up = time.monotonic() + _STORE_AWAY
        while True:
            try:
                if self._notices.add(delivery.user, time.time(), _today() - self._lifetime):
                    self._sender.notify()
                return
            except SQLAlchemyError as error:
                _log.error("event=store-failed error=%s", type(error).__name__)
                if time.monotonic() > give_up or self._ended.wait(1):
                    raise

    def start(self) -> None:
        """Starts sending notifications, and deleting expired tokens."""
        if not self._silent:
            self._sender.start()
        threading.Thread(target=self._forget, name="forget", daemon=True).start()

    def stop(self) -> None:
        """Stops, and waits for requests in progress."""
        self._ended.set()
        if not self._silent:
            self._sender.stop()

    def _forget(self) -> None:
        while True:
            try:
                if number := self._tokens.forget_old():
                    _log.info("event=tokens-too-old number=%d", number)
            except SQLAlchemyError as error:
                _log.error("event=store-failed error=%s", type(error).__name__)
            if self._ended.wait(_HOUR):
                return


def deltachat_entries(config: Config) -> dict[str, Callable[[], str | None]]:
    """The entries below `/shared/vendor/deltachat/`, each as a function that gives its value."""
    texts = {"maxsmtprecipients": str(config.mail.max_recipients), **config.metadata.deltachat}
    entries: dict[str, Callable[[], str | None]] = {
        name: partial(str, value) for name, value in texts.items()
    }
    if config.metadata.turn is not None:
        entries.setdefault("turn", partial(_turn, config.metadata.turn))
    return entries


def _turn(server: str) -> str | None:
    """Credentials for calls. The secrets are read each time, so that a new one is in use at once."""
    try:
        return turn.entry(server, turn.read(turn.secrets_path()), time.time())
    except turn.TurnSecretsError as error:
        # The app gets the other entries all the same.
        _log.error('event=turn-secrets error="%s"', error)
        return None


@click.command()
@click.option(
    "--listen",
    metavar="NAME=unix:PATH",
    multiple=True,
    help="Listen there, if systemd passes no sockets; also NAME=HOST:PORT.",
)
def main(listen: tuple[str, ...]) -> None:
    """Keep device tokens for Dovecot's METADATA, and notify phones of new mail.

    The sockets are `metadata` (Dovecot's dict protocol) and `deliveries` (HTTP). To the latter, an
    event_exporter of Dovecot posts deliveries, at the URL in /etc/chatmail/push.url.
    """
    config = load_or_exit()
    log_to_stderr()
    # urllib3's warnings contain the URL and the data sent.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    path = secret_path("chatmail-push", Path(os.environ.get("CHATMAIL_PUSH_URL", URL_FILE)))
    found = listening_or_exit("chatmail-push", listen, _SOCKETS)
    try:
        push = Push(config)
    except SQLAlchemyError as error:
        print(f"chatmail-push: {fault.explained(error).advice}", file=sys.stderr)
        sys.exit(75)  # EX_TEMPFAIL: a database on another host comes back
    _serve(push, path, found)


def _serve(push: Push, path: str, listening: dict[str, socket.socket]) -> None:
    ending = {signal.SIGTERM, signal.SIGINT}
    # Before any thread is started, because threads inherit the signal mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    listeners = [
        metadata_listener(listening["metadata"], push.metadata),
        delivery_listener(listening["deliveries"], path, push.delivered),
    ]
    push.start()
    for one in listeners:
        one.start()
    _log.info("event=ready")
    signal.sigwait(ending)
    _log.info("event=stopping")
    for one in listeners:
        one.stop()
    push.stop()


def _nobody(_user: str) -> bool:
    return False


def _today() -> date:
    return datetime.now(UTC).date()
