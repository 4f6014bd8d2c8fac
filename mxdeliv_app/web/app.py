"""The Falcon application on port 443, behind nginx: `/mxdeliv`, `/new`, autoconfig and web pages.

`create_app` takes its collaborators as arguments; `app_from_environment` creates them from the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

from chatmail_milter import config
from chatmail_milter.accounts import limits
from chatmail_milter.lazy import once
from chatmail_milter.systemd import log_to_stderr
from mxdeliv_app.mxdeliv import admission, wire
from mxdeliv_app.mxdeliv.inject import Injector, InjectPorts
from mxdeliv_app.mxdeliv.receive import MxdelivResource
from mxdeliv_app.serving import faults
from mxdeliv_app.web.new import NewAccountResource
from mxdeliv_app.web.pages import Pages, autoconfig, icon

if TYPE_CHECKING:
    from chatmail_milter.store.tokens import Tokens

AUTOCONFIG_PATHS = ("/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml")
# The pages refer to the first; browsers request the second by themselves.
ICON_PATHS = ("/favicon.svg", "/favicon.ico")


def create_app(
    settings: config.Config, receive: MxdelivResource, new: NewAccountResource
) -> falcon.App[Any, Any]:
    """The application, with its routes."""
    app = falcon.App()
    app.add_error_handler(Exception, faults.our_fault)
    # A sink, not a route: Falcon's routes answer OPTIONS by themselves, and unknown methods with 400.
    app.add_sink(receive, rf"{wire.PATH}/?\Z")
    app.add_route("/new", new)
    pages = Pages(settings)
    app.set_error_serializer(pages.serialize_error)
    app.add_route("/", pages.landing())
    app.add_route("/privacy", pages.privacy())
    for path in ICON_PATHS:
        app.add_route(path, icon())
    for path in AUTOCONFIG_PATHS:
        app.add_route(path, autoconfig(settings))
    return app


def app_from_environment() -> falcon.App[Any, Any]:
    """The application for the present configuration; gunicorn's entry point."""
    settings = config.load_or_exit()
    log_to_stderr()
    ports = InjectPorts(settings.listen.inject.pair, settings.listen.mixed.pair)
    mail = settings.mail
    receive = MxdelivResource(Injector(ports), mail.max_relayed_size, mail.max_recipients)
    tokens = once(lambda: _tokens(settings))
    return create_app(
        settings,
        receive,
        NewAccountResource(
            settings, limits.shortage_check(settings), tokens, limits.shared(settings.accounts)
        ),
    )


def before_workers(settings: config.Config, threads: int) -> None:
    """Prepares what workers share, before gunicorn forks them. `threads`: of each worker."""
    admission.announce(threads)
    if settings.accounts.registration == "token":
        # Imported here, as in `_tokens`.
        from chatmail_milter.store.engine import load

        load(settings.store.url)
    limits.share(settings.accounts)


def _tokens(settings: config.Config) -> Tokens:
    # Imported here: SQLAlchemy would double the app's memory, and only registration by token needs it.
    from chatmail_milter.store.engine import existing_store
    from chatmail_milter.store.reserved_names import ReservedNames
    from chatmail_milter.store.tokens import Tokens

    return Tokens(existing_store(settings.store.url), names=ReservedNames(settings.accounts.names_kept))
