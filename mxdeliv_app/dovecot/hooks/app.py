"""The HTTP service for Dovecot's Lua, on loopback: looks up accounts, creates them, allows logins.

Requests need a secret (`X-Chatmail-Secret`), because any local user can connect. A password is sent here only
to create an account; Dovecot itself verifies the passwords of existing ones. Dovecot treats any answer that
is not listed below as a temporary failure.

    POST /dovecot/lookup {"user","ip"?,"fingerprint"?}
        200 {"exists": true, "password", "quota", "seen"}, 404 {"exists": false}, 423 or 429 {"reason"}
    POST /dovecot/create {"user","password","ip"?,"fingerprint"?}
        201 {"password": hash}, 403, 409, 423, 429 or 507 {"reason"}
    POST /dovecot/mailbox {"user"}
        200 {"quota": octets or null}, 404 {"exists": false}
    POST /dovecot/login {"user","ip"?,"fingerprint"?}
        204, 404 {"exists": false}

`ip`: the client's address, empty if Dovecot doesn't know it; it is not stored. 423: the operator's policy
denies the login. 507: the host lacks resources for a new account. 429: too many new accounts from the address
or IPv6 /64 (`accounts/limits.py`), or too many guesses: a `lookup` with a `fingerprint` of the password, in
hexadecimal, counts as a guess (`guesses.py`). After a successful login Dovecot sends `login`, unless `seen`
says that this would store nothing new: the day, the fingerprint and a hash of the network. `mailbox` is for
deliveries, which no policy forbids. A quota is null if the account has the default.
"""

from __future__ import annotations

import hmac
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import falcon
from falcon import HTTPUnauthorized
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import config
from chatmail_milter.accounts import limits
from chatmail_milter.accounts.limits import Shortage
from chatmail_milter.lazy import once
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import existing_store, load
from chatmail_milter.store.policies import Policies
from chatmail_milter.store.reserved_names import ReservedNames
from chatmail_milter.systemd import log_to_stderr
from mxdeliv_app.dovecot import guesses
from mxdeliv_app.dovecot.guesses import Guesses
from mxdeliv_app.dovecot.hooks.create import Create
from mxdeliv_app.dovecot.hooks.login import Login
from mxdeliv_app.dovecot.hooks.lookup import Lookup, Mailbox
from mxdeliv_app.serving import faults

SECRET_HEADER = "X-Chatmail-Secret"  # noqa: S105  (the name of a header)
SECRET_PATH = Path("/etc/chatmail/hooks.secret")
_SECRET_MIN = 32  # characters; the playbook makes 64

_log = logging.getLogger(__name__)


class OnlyDovecot:
    """Middleware: requests without the secret get 401, whatever their path."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def process_request(self, request: falcon.Request, _response: falcon.Response) -> None:
        """Raises 401 without the secret. Compares in constant time."""
        shown = (request.get_header(SECRET_HEADER) or "").encode("utf-8", "replace")
        if not hmac.compare_digest(shown, self._secret):
            raise HTTPUnauthorized(title="The secret is missing or wrong")


def create_app(
    settings: config.Config,
    accounts: Callable[[], Accounts],
    policy: Callable[[], Policy],
    shortage: Callable[[], Shortage | None],
    secret: str,
    today: Callable[[], date],
    limiter: Limiter | None = None,
    guessed: Guesses | None = None,
) -> falcon.App[Any, Any]:
    """The application. `policy`: the one in force. `shortage`: the resource that the host lacks."""
    limiter = limiter or limits.limiter(settings.accounts)
    guessed = guessed or Guesses()
    app = falcon.App(middleware=[OnlyDovecot(secret)])
    app.add_error_handler(Exception, _our_fault)
    app.add_error_handler(SQLAlchemyError, _store_away)
    app.add_route("/dovecot/lookup", Lookup(accounts, policy, today, guessed))
    app.add_route("/dovecot/mailbox", Mailbox(accounts))
    create = Create(accounts, settings, policy, shortage, today, limiter, guessed)
    app.add_route("/dovecot/create", create)
    app.add_route("/dovecot/login", Login(accounts, today, guessed))
    return app


def app_from_environment() -> falcon.App[Any, Any]:
    """The application for the present configuration; gunicorn's entry point."""
    settings = config.load_or_exit()
    log_to_stderr()
    secret = read_secret(secret_path())
    # Without a store Dovecot is told so at once; nobody would answer it if this ended here.
    engine = once(lambda: existing_store(settings.store.url))
    names = ReservedNames(settings.accounts.names_kept)
    accounts = once(lambda: Accounts(engine(), today=_today, names=names))
    policies = once(lambda: Policies(engine()))
    room = limits.shortage_check(settings)
    limiter = limits.shared(settings.accounts)
    in_force = lambda: policies().current()  # noqa: E731
    return create_app(settings, accounts, in_force, room, secret, _today, limiter, guesses.shared())


def before_workers(settings: config.Config, _threads: int) -> None:
    """Prepares what workers share, before gunicorn forks them. Exits if there is no secret."""
    read_secret(secret_path())
    guesses.share()
    load(settings.store.url)
    limits.share(settings.accounts)


def secret_path() -> Path:
    """The file that holds the secret: `$CHATMAIL_HOOKS_SECRET`, else `SECRET_PATH`."""
    return Path(os.environ.get("CHATMAIL_HOOKS_SECRET", SECRET_PATH))


def read_secret(path: Path) -> str:
    """The secret from a file of one line. If it can't be read, one line on stderr and exit 78 (EX_CONFIG)."""
    try:
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        print(f"the hooks' secret can't be read: {path}: {type(error).__name__}", file=sys.stderr)
        sys.exit(78)
    if len(secret) < _SECRET_MIN:
        print(f"the hooks' secret is too short: {path}: wants {_SECRET_MIN} characters", file=sys.stderr)
        sys.exit(78)
    return secret


def _store_away(_request: falcon.Request, response: falcon.Response, error: Exception, _params: Any) -> None:
    _log.error("event=store-away error=%s", type(error).__name__)
    response.status = 503


def _our_fault(request: falcon.Request, response: falcon.Response, error: Exception, params: Any) -> None:
    faults.our_fault(request, response, error, params)
    # Dovecot would obey it, and keep the login waiting for as long.
    response.delete_header("Retry-After")


def _today() -> date:
    return datetime.now(UTC).date()
