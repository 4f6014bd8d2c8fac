"""Renders answers: HTML for browsers, the same values as JSON for programs, with security headers.

Strangers wrote some of the texts: domain names, peers' errors, addresses in the queue. Templates escape all
text, and remove control and bidirectional characters (`sanitize.printable`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import falcon
import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chatmail_milter.ctl.output import after, ago, counts, milliseconds
from chatmail_milter.store.sanitize import printable
from mxdeliv_app.admin import charts
from mxdeliv_app.admin.data import shallow
from mxdeliv_app.admin.requests import HOME
from mxdeliv_app.admin.sessions import Session
from mxdeliv_app.serving.browsers import wants_html

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Data = TypeVar("_Data", bound="DataclassInstance", covariant=True)
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))
_here = resources.files("mxdeliv_app.admin") / "templates"
_style = (_here / "style.css").read_text("utf-8")
_script = (_here / "refresh.js").read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


# https://www.w3.org/TR/CSP3/: our one style sheet and our one script, both in the page; the script asks for
# the page anew, forms are sent to us, and no other site may frame it.
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src '{_hash(_style)}'",
        f"script-src '{_hash(_script)}'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
FIELDS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}


@dataclass(frozen=True, slots=True)
class View(Generic[_Data]):
    """The values of a page. `data`: for JSON and template. `extra`: for the template only."""

    template: str
    title: str
    data: _Data
    extra: Mapping[str, Any] = field(default_factory=dict)


def send(
    request: falcon.Request, response: falcon.Response, view: View[Any], session: Session | None
) -> None:
    """Sets the response to a view."""
    if not wants_html(request):
        send_json(response, view.data)
        return
    response.content_type = "text/html; charset=utf-8"
    response.data = html(request, view, session)


def send_json(response: falcon.Response, data: DataclassInstance) -> None:
    """Sets the response to JSON."""
    response.content_type, response.data = falcon.MEDIA_JSON, msgspec.json.encode(data)


def html(request: falcon.Request, view: View[Any], session: Session | None) -> bytes:
    """Returns the page."""
    page = _templates.get_template(view.template).render(
        {
            **shallow(view.data),
            **view.extra,
            "title": view.title,
            "home": HOME,
            "here": request.relative_uri,
            "path": request.path,
            "session": session,
            "said": session.take_said() if session else "",
            "style": Markup(_style),  # noqa: S704  (a file of ours)
            "script": Markup(_script),  # noqa: S704  (a file of ours)
            "now": datetime.now(UTC),
        }
    )
    return page.encode("utf-8", "replace")


def size(octets: float) -> str:
    """`1.5 GiB`."""
    unit, one = next((pair for pair in _SIZES if octets >= pair[1]), _SIZES[-1])
    return f"{octets / one:.3g} {unit}" if one > 1 else f"{octets:.0f} B"


def percent(share: float | None) -> str:
    """`99.5 %`; never 100 where anything failed."""
    if share is None:
        return "-"
    return "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"


def when(then: datetime) -> str:
    """A time with its date, in UTC."""
    return f"{then:%Y-%m-%d %H:%M:%S} UTC"


def _finalize(value: Any) -> Any:
    # `Markup` is what we drew or wrote ourselves.
    return printable(value) if type(value) is str else value


_templates = Environment(
    loader=PackageLoader("mxdeliv_app.admin"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    after=after,
    ago=ago,
    counts=counts,
    ms=milliseconds,
    percent=percent,
    size=size,
    when=when,
    printable=printable,
)
_templates.globals.update(ways=charts.NAMES)
