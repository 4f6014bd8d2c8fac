"""The web pages: what the server is, how to get an account, privacy, contact.

Pages have no scripts, nothing from other hosts, and one inline style sheet, whose hash is in the
Content-Security-Policy (https://www.w3.org/TR/CSP3/). Templates escape all values.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any
from urllib.parse import urlencode, urlsplit

import falcon
import segno
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chatmail_milter import config
from chatmail_milter.accounts import credentials
from chatmail_milter.accounts.credentials import Credentials
from mxdeliv_app.serving.browsers import wants_html
from mxdeliv_app.web.lifetimes import duration, lifetimes, size

HTML = "text/html; charset=utf-8"

_templates = Environment(
    loader=PackageLoader("mxdeliv_app.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(duration=duration, size=size)

_style = (resources.files("mxdeliv_app.web") / "templates" / "style.css").read_text("utf-8")
_style_hash = base64.b64encode(hashlib.sha256(_style.encode("utf-8")).digest()).decode("ascii")

# Pages only load the icon and submit the form of `/new`, both from this host.
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_style_hash}'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True)
class Page:
    """A static document, rendered once."""

    content_type: str
    body: bytes

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """Returns the document."""
        send(response, self.content_type, self.body)

    # Falcon supports HEAD only if the resource does; it then omits the body (RFC 9110, 9.3.2).
    on_head = on_get


def send(response: falcon.Response, content_type: str, body: bytes) -> None:
    """Sets the response to a document, with security headers."""
    response.content_type = content_type
    response.set_header("Content-Security-Policy", POLICY)
    response.set_header("X-Content-Type-Options", "nosniff")
    # The URL of the page may contain a registration token.
    response.set_header("Referrer-Policy", "no-referrer")
    response.data = body


class Pages:
    """Renders the pages."""

    def __init__(self, settings: config.Config) -> None:
        self._settings = settings
        self._common = {
            "domain": settings.mail.domain,
            "registration": settings.accounts.registration,
            "contact": settings.pages.contact,
            "contact_link": contact_link(settings.pages.contact),
            "style": Markup(_style),  # noqa: S704  (a file of ours, the same for all)
        }

    def landing(self) -> Page:
        """The landing page, with a QR code."""
        return self._page("landing.html", **self._invite(None))

    def privacy(self) -> Page:
        """The privacy page: retention times by the present settings, and who is responsible."""
        settings = self._settings
        return self._page(
            "privacy.html",
            pages=settings.pages,
            rows=lifetimes(settings),
            gateway=urlsplit(settings.push.gateway).hostname,
            offline=settings.push.when == "offline",
            unused=settings.expiry.accounts,
        )

    def new(self, token: str | None, problem: str | None = None) -> bytes:
        """The page on how to get an account. `token`: a valid one. `problem`: why no account was created."""
        able = problem is None and self._settings.accounts.registration != "closed"
        if self._settings.accounts.registration == "token":
            able = able and token is not None
        invite = self._invite(token) if able else {}
        # A path without a host: the browser may have used another name of this host.
        action = "/new" + (f"?{urlencode({'token': token})}" if token else "")
        return self._render("new.html", able=able, action=action, problem=problem, **invite)

    def made(self, account: Credentials) -> bytes:
        """The page with new credentials, and a link by which an app logs in with them."""
        link = credentials.dclogin(self._settings, account.address, account.password)
        return self._render("made.html", account=account, link=link, code=_draw(link))

    def error(self, error: falcon.HTTPError) -> bytes:
        """The page for an HTTP error, such as 404."""
        return self._render("error.html", title=error.title or error.status)

    def serialize_error(
        self, request: falcon.Request, response: falcon.Response, error: falcon.HTTPError
    ) -> None:
        """Falcon's error serializer: a page for browsers, JSON for other clients."""
        response.append_header("Vary", "Accept")
        if wants_html(request):
            send(response, HTML, self.error(error))
        else:
            response.content_type, response.data = falcon.MEDIA_JSON, error.to_json()

    def _invite(self, token: str | None) -> dict[str, Any]:
        link = credentials.dcaccount(self._settings, token)
        return {"link": link, "code": code(link)}

    def _page(self, template: str, **values: Any) -> Page:
        return Page(HTML, self._render(template, **values))

    def _render(self, template: str, **values: Any) -> bytes:
        return _templates.get_template(template).render(self._common | values).encode("utf-8")


def icon() -> Page:
    """The icon."""
    return Page("image/svg+xml", (resources.files("mxdeliv_app.web") / "templates" / "icon.svg").read_bytes())


def autoconfig(settings: config.Config) -> Page:
    """The autoconfig document for mail clients: IMAP and submission servers, in the order to try them.

    Port 443 is second: a network that lets nothing pass to the first port often drops the packets to all mail
    ports, and Delta Chat waits for a minute at each. A client that names no protocol by ALPN fails there at
    once and goes on to the third.
    https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html
    """
    by_alpn = ((443, "SSL"),) if settings.mail.port_443 else ()
    page = _templates.get_template("autoconfig.xml").render(
        domain=credentials.host_name(settings.mail.domain),
        host=credentials.host_name(settings.mail.host),
        imap=((993, "SSL"), *by_alpn, (143, "STARTTLS")),
        submission=((465, "SSL"), *by_alpn, (587, "STARTTLS")),
    )
    return Page("text/xml; charset=utf-8", page.encode("utf-8"))


def contact_link(contact: str) -> str | None:
    """The link for `contact`: `mailto:` for an e-mail address, an `https:` URL itself, else None."""
    if urlsplit(contact).scheme == "https" and contact.isprintable() and " " not in contact:
        return contact
    local_part, at, domain = contact.rpartition("@")
    if at and local_part and domain and contact.isascii() and not set(contact) & set(' ,;:?&%<>"\n'):
        return f"mailto:{contact}"
    return None


# Cached: drawing takes 5 ms of CPU, and the page of an invitation is loaded many times.
@lru_cache(maxsize=64)
def code(link: str) -> Markup:
    """A link as a QR code, as inline SVG."""
    return _draw(link)


def _draw(link: str) -> Markup:
    # White background, also in dark mode: scanners need dark on light. No escaping: segno writes only numbers
    # and fixed words into the SVG.
    svg = segno.make_qr(link).svg_inline(omitsize=True, light="#fff", title="QR code")
    return Markup(svg)  # noqa: S704
