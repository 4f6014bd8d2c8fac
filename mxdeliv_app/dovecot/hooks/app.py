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
or IPv6 /64 (`creation_limit.py`), or too many guesses: a `lookup` with a `fingerprint` of the password, in
hexadecimal, counts as a guess (`guesses.py`). After a successful login Dovecot sends `login`, unless `seen`
says that this would store nothing new: the day, the fingerprint and a hash of the network. `mailbox` is for
deliveries, which no policy forbids. A quota is null if the account has the default.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import falcon
import msgspec
from falcon import HTTPBadRequest, HTTPContentTooLarge, HTTPUnauthorized
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address, config
from chatmail_milter.accounts import creation_limit, credentials, machine, registration
from chatmail_milter.accounts.capacity import Shortage
from chatmail_milter.address import Peer
from chatmail_milter.lazy import once
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.accounts import Account, Accounts
from chatmail_milter.store.engine import existing_store, load
from chatmail_milter.store.names import NameReservedError, ReservedNames
from chatmail_milter.store.policies import Policies
from chatmail_milter.verdict import Action
from mxdeliv_app.dovecot import guesses
from mxdeliv_app.dovecot.guesses import FINGERPRINT_BITS, Guesses
from mxdeliv_app.serving import faults

SECRET_HEADER = "X-Chatmail-Secret"  # noqa: S105  (the name of a header)
SECRET_PATH = Path("/etc/chatmail/hooks.secret")
_SECRET_MIN = 32  # characters; the playbook makes 64

# An address and a password; Dovecot itself takes no more than 8 KiB of a client's line.
_MAX_BODY = 16 << 10

_NOT_OPEN = {"closed": "registration is closed", "token": "registration is by token"}

# Dovecot answers it as it does a wrong password: nobody learns who had an account.
_NAME_RESERVED = "the name is reserved"

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# Whole octets, as Dovecot writes it.
_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{4}\Z")]


class _User(msgspec.Struct, frozen=True):
    user: str


class _Lookup(msgspec.Struct, frozen=True):
    user: str
    ip: str | None = None
    fingerprint: _Fingerprint | None = None


class _Create(msgspec.Struct, frozen=True):
    user: str
    password: str
    ip: str = ""
    fingerprint: _Fingerprint | None = None


class _Login(msgspec.Struct, frozen=True):
    user: str
    ip: str = ""
    fingerprint: _Fingerprint | None = None


class OnlyDovecot:
    """Middleware: requests without the secret get 401, whatever their path."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def process_request(self, request: falcon.Request, _response: falcon.Response) -> None:
        """Raises 401 without the secret. Compares in constant time."""
        shown = (request.get_header(SECRET_HEADER) or "").encode("utf-8", "replace")
        if not hmac.compare_digest(shown, self._secret):
            raise HTTPUnauthorized(title="The secret is missing or wrong")


class Lookup:
    """Returns an account with all data for its login, in one request because each one is expensive."""

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        policy: Callable[[], Policy],
        today: Callable[[], date],
        guessed: Guesses,
    ) -> None:
        self._accounts = accounts
        self._policy = policy
        self._today = today
        self._guessed = guessed

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers 404 to names that are not canonical; Dovecot sends them in lower case."""
        asked = _asked(request, _Lookup)
        if asked.ip is not None and _denied(self._policy(), asked.user, asked.ip, response):
            return
        fingerprint, peer = _bits(asked.fingerprint), _peer(asked.ip or "")
        now = time.monotonic()
        # Names without an account are counted alike: else the answer would tell who has one.
        if fingerprint is not None and not self._guessed.may_check(asked.user, fingerprint, peer, now):
            response.status, response.media = 429, {"reason": "guesses"}
            return
        account = find(self._accounts(), asked.user)
        if account is None:
            _unknown(response)
            return
        seen = account.last_login is not None and account.last_login >= self._today()
        seen = seen and (fingerprint is None or self._guessed.knows(asked.user, fingerprint, peer))
        response.media = {
            "exists": True,
            "password": account.password_hash,
            "quota": account.quota,
            "seen": seen,
        }


class Mailbox:
    """Whether a mailbox exists, and its quota."""

    def __init__(self, accounts: Callable[[], Accounts]) -> None:
        self._accounts = accounts

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers 404 to names that are not canonical."""
        account = find(self._accounts(), _asked(request, _User).user)
        if account is None:
            _unknown(response)
        else:
            response.media = {"quota": account.quota}


class Create:
    """Creates an account at its first login."""

    # A hash takes a processor to itself. As many at once as there are processes of this program: who has an
    # account is looked up while a thousand others get theirs.
    _hashing = threading.Lock()

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        settings: config.Config,
        policy: Callable[[], Policy],
        shortage: Callable[[], Shortage | None],
        today: Callable[[], date],
        limiter: Limiter,
        guessed: Guesses,
    ) -> None:
        self._limiter = limiter
        self._guessed = guessed
        self._accounts = accounts
        self._settings = settings
        self._policy = policy
        self._shortage = shortage
        self._today = today

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Of concurrent requests one gets 201, the others 409; then Dovecot looks the account up."""
        asked = _asked(request, _Create)
        if _denied(self._policy(), asked.user, asked.ip, response):
            return
        reason = self._refusal(asked)
        if reason:
            _refuse(response, 403, reason)
            return
        # Before the rate: phones with such an account try again and again, and share an address with others.
        if self._accounts().reserved(asked.user):
            _refuse(response, 403, _NAME_RESERVED)
            return
        short = self._shortage()
        if short:
            _refuse(response, 507, short)
            return
        # Before the hash, which is what an attempt costs. Who comes from nowhere is a program on this host.
        if asked.ip and not self._limiter.take(creation_limit.network(_peer(asked.ip)), time.monotonic()):
            _refuse(response, 429, "rate")
            return
        with self._hashing:
            password_hash = credentials.hash_password(asked.password)
        try:
            # Whoever gets it logs in with it; that is not asked to be remembered once more.
            made = self._accounts().create(asked.user, password_hash, self._today())
        except NameReservedError:
            _refuse(response, 403, _NAME_RESERVED)
            return
        if made:
            _log.info("event=account-created")
            _remember(self._guessed, asked)
            response.status, response.media = 201, {"password": password_hash}
        else:
            response.status, response.media = 409, {"reason": "exists"}

    def _refusal(self, asked: _Create) -> str | None:
        rules, domain = self._settings.accounts, self._settings.mail.domain
        if rules.registration != "open":
            return _NOT_OPEN[rules.registration]
        return registration.refuse(rules, domain, asked.user, asked.password)


class Login:
    """Stores the day of a login."""

    def __init__(self, accounts: Callable[[], Accounts], today: Callable[[], date], guessed: Guesses) -> None:
        self._accounts = accounts
        self._today = today
        self._guessed = guessed

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Stores the day, and no time."""
        asked = _asked(request, _Login)
        if self._accounts().touch(asked.user, self._today()):
            _remember(self._guessed, asked)
            response.status = 204
        else:
            _unknown(response)


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
    limiter = limiter or creation_limit.limiter(settings.accounts)
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
    faults.log_to_stderr()
    secret = read_secret(secret_path())
    # Without a store Dovecot is told so at once; nobody would answer it if this ended here.
    engine = once(lambda: existing_store(settings.store.url))
    names = ReservedNames(settings.accounts.names_kept)
    accounts = once(lambda: Accounts(engine(), today=_today, names=names))
    policies = once(lambda: Policies(engine()))
    room = machine.room(settings)
    limiter = creation_limit.shared(settings.accounts)
    in_force = lambda: policies().current()  # noqa: E731
    return create_app(settings, accounts, in_force, room, secret, _today, limiter, guesses.shared())


def before_workers(settings: config.Config, _threads: int) -> None:
    """Prepares what workers share, before gunicorn forks them. Exits if there is no secret."""
    read_secret(secret_path())
    guesses.share()
    load(settings.store.url)
    creation_limit.share(settings.accounts)


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


def find(accounts: Accounts, user: str) -> Account | None:
    """The account of `user`; None if the name is not canonical."""
    return accounts.lookup(user) if address.is_canonical(user) else None


def _denied(policy: Policy, user: str, ip: str, response: falcon.Response) -> bool:
    """Whether `policy` denies `user` a login from `ip`; sets `response` then."""
    verdict = policy.login(user, _peer(ip))
    if verdict.action is Action.PASS:
        return False
    _log.info("event=login-denied reason=%s", verdict.reason)
    response.status, response.media = 423, {"reason": verdict.reason}
    return True


def _peer(ip: str) -> Peer:
    try:
        return ipaddress.ip_address(ip) if ip else None
    except ValueError:
        raise HTTPBadRequest(title="Not an IP address") from None


def _asked(request: falcon.Request, kind: type[_T]) -> _T:
    """The request's JSON as `kind`. Raises 413 or 400."""
    body = request.stream.read(_MAX_BODY + 1)
    if len(body) > _MAX_BODY:
        raise HTTPContentTooLarge
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPBadRequest(title="Not the JSON that is expected here") from None


def _bits(fingerprint: str | None) -> int | None:
    return None if fingerprint is None else int(fingerprint, 16) % (1 << FINGERPRINT_BITS)


def _remember(guessed: Guesses, asked: _Create | _Login) -> None:
    fingerprint = _bits(asked.fingerprint)
    if fingerprint is not None:
        guessed.right(asked.user, fingerprint, _peer(asked.ip))


def _refuse(response: falcon.Response, status: int, reason: str) -> None:
    _log.info('event=account-refused reason="%s"', reason)
    response.status, response.media = status, {"reason": reason}


def _store_away(_request: falcon.Request, response: falcon.Response, error: Exception, _params: Any) -> None:
    _log.error("event=store-away error=%s", type(error).__name__)
    response.status = 503


def _our_fault(request: falcon.Request, response: falcon.Response, error: Exception, params: Any) -> None:
    faults.our_fault(request, response, error, params)
    # Dovecot would obey it, and keep the login waiting for as long.
    response.delete_header("Retry-After")


def _unknown(response: falcon.Response) -> None:
    response.status, response.media = 404, {"exists": False}


def _today() -> date:
    return datetime.now(UTC).date()
