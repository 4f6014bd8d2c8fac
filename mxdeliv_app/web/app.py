"""What the world sees on port 443, behind nginx: `/mxdeliv`, `/new`, autoconfig and the pages for people.

`create_app` takes its collaborators; `app_from_environment` reads the configuration and makes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

from chatmail_milter import config
from chatmail_milter.accounts import creation_limit, machine
from chatmail_milter.lazy import once
from mxdeliv_app.mxdeliv import admission, wire
from mxdeliv_app.mxdeliv.inject import Injector, Ports
from mxdeliv_app.mxdeliv.receive import Receive
from mxdeliv_app.serving import faults
from mxdeliv_app.web.new import New
from mxdeliv_app.web.pages import Pages, autoconfig, icon

if TYPE_CHECKING:
    from chatmail_milter.store.tokens import Tokens

AUTOCONFIG_PATHS = ("/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml")
# The pages name the first; browsers ask for the second wherever they are.
ICON_PATHS = ("/favicon.svg", "/favicon.ico")


def create_app(settings: config.Config, receive: Receive, new: New) -> falcon.App[Any, Any]:
    """The application."""
    app = falcon.App()
    app.add_error_handler(Exception, faults.our_fault)
    # A sink, not a route: a route answers OPTIONS itself, and methods it never heard of with 400.
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
    """The application as the configuration wants it: what gunicorn is told to serve."""
    settings = config.load_or_exit()
    faults.log_to_stderr()
    ports = Ports(settings.listen.inject.pair, settings.listen.mixed.pair)
    mail = settings.mail
    receive = Receive(Injector(ports), mail.max_message_size, mail.max_recipients)
    tokens = once(lambda: _tokens(settings))
    return create_app(
        settings,
        receive,
        New(settings, machine.room(settings), tokens, creation_limit.shared(settings.accounts)),
    )


def before_workers(settings: config.Config, threads: int) -> None:
    """Before gunicorn forks workers of so many threads: what they are to share."""
    admission.announce(threads)
    if settings.accounts.registration == "token":
        # Imported here, as in `_tokens`.
        from chatmail_milter.store.engine import load

        load(settings.store.url)
    creation_limit.share(settings.accounts)


def _tokens(settings: config.Config) -> Tokens:
    # Imported here: the store's library would be half of the app, and only registration by token needs it.
    from chatmail_milter.store.engine import existing_store
    from chatmail_milter.store.names import ReservedNames
    from chatmail_milter.store.tokens import Tokens

    return Tokens(existing_store(settings.store.url), names=ReservedNames(settings.accounts.names_kept))
