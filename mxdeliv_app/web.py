"""What the world sees on port 443, behind nginx: `/mxdeliv`, `/new`, autoconfig and the landing page.

`create_app` takes its collaborators; `app_from_environment` reads the configuration and makes them.
Autoconfig: https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon
import segno
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from chatmail_milter import config, links, machine
from chatmail_milter.store.engine import existing_store
from chatmail_milter.store.tokens import Tokens
from mxdeliv_app import faults, wire
from mxdeliv_app.inject import Injector, Ports
from mxdeliv_app.later import once
from mxdeliv_app.new import New
from mxdeliv_app.receive import Receive

AUTOCONFIG_PATHS = ("/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml")

_templates = Environment(
    loader=PackageLoader("mxdeliv_app"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class Page:
    """A document that is the same for everybody, rendered once."""

    content_type: str
    body: bytes

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """The document."""
        response.content_type = self.content_type
        # Nothing may be loaded from anywhere, not even from here: the page stands alone.
        response.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        response.data = self.body


def create_app(settings: config.Config, receive: Receive, new: New) -> falcon.App[Any, Any]:
    """The application."""
    app = falcon.App()
    app.add_error_handler(Exception, faults.our_fault)
    # A sink, not a route: a route answers OPTIONS itself, and methods it never heard of with 400.
    app.add_sink(receive, rf"{wire.PATH}/?\Z")
    app.add_route("/new", new)
    app.add_route("/", landing_page(settings))
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
    tokens = once(lambda: Tokens(existing_store(settings.store.url)))
    return create_app(settings, receive, New(settings, machine.room(settings), tokens))


def landing_page(settings: config.Config) -> Page:
    """The page for people: what this is, and a code to scan."""
    invite = links.dcaccount(settings)
    page = _templates.get_template("landing.html").render(
        domain=settings.mail.domain,
        registration=settings.accounts.registration,
        invite=invite,
        # segno makes numbers and fixed words only: nothing in it needs escaping, and tags must not be.
        qr=Markup(segno.make_qr(invite).svg_inline(scale=4, omitsize=True)),  # noqa: S704
    )
    return Page("text/html; charset=utf-8", page.encode("utf-8"))


def autoconfig(settings: config.Config) -> Page:
    """The document that mail clients ask for: where IMAP and submission are."""
    page = _templates.get_template("autoconfig.xml").render(
        domain=links.bare(settings.mail.domain), host=links.bare(settings.mail.host)
    )
    return Page("text/xml; charset=utf-8", page.encode("utf-8"))
