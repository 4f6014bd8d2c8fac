"""Routes: the operator's overrides of DNS for mail to a domain. Effective on the next message.

A target is a host name, an IP address (the certificate must then be for the domain's name), or an https URL.
Without a target the usual hosts are used, and only `https`, `verify` or `one_per_recipient` differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from sqlalchemy import Engine, Row, delete, select

from chatmail_milter import address
from chatmail_milter.store.revision import wait_for_caches_to_expire
from chatmail_milter.store.tables import ROUTE_TARGET_MAX, routes
from chatmail_milter.store.upsert import upsert

Https = Literal["prefer", "only", "never"]


class RouteError(ValueError):
    """The route is invalid. The message tells the operator what to write instead."""


@dataclass(frozen=True, slots=True)
class Route:
    """One domain's route. Raises `RouteError` for an invalid target.

    `verify`: whether certificates must be valid; None for the default of the domain. `one_per_recipient`:
    send a separate POST to each recipient.
    """

    domain: str
    target: str | None = None
    https: Https = "prefer"
    verify: bool | None = None
    one_per_recipient: bool = False

    def __post_init__(self) -> None:
        if self.target is None:
            return
        if len(self.target) > ROUTE_TARGET_MAX or not self.target.isprintable() or " " in self.target:
            raise RouteError("write the target without spaces and control characters, 512 characters at most")
        if "://" in self.target:
            if not _is_url(self.target):
                raise RouteError("write the URL as https://host[:port][/path]")
        elif not _is_domain(self.target):
            raise RouteError("write the target as a host name, an IP address, or an https URL")


class Routes:
    """Access to the routes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, domain: str) -> Route | None:
        """The route of `domain`; None if it has none."""
        with self._engine.connect() as connection:
            row = connection.execute(select(routes).where(routes.c.domain == domain)).one_or_none()
        return None if row is None else _route(row)

    def list(self) -> list[Route]:
        """All routes, by domain."""
        with self._engine.connect() as connection:
            return [_route(row) for row in connection.execute(select(routes).order_by(routes.c.domain))]

    def set(self, route: Route) -> None:
        """Sets or replaces the route of `route.domain`."""
        with self._engine.begin() as connection:
            upsert(
                connection,
                routes,
                {
                    "domain": route.domain,
                    "target": route.target,
                    "https": route.https,
                    "verify": route.verify,
                    "one_per_recipient": route.one_per_recipient,
                },
            )
        wait_for_caches_to_expire()

    def unset(self, domain: str) -> bool:
        """Removes the route of `domain`; False if it had none."""
        with self._engine.begin() as connection:
            found = connection.execute(delete(routes).where(routes.c.domain == domain)).rowcount > 0
        wait_for_caches_to_expire()
        return found


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    alone = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme == "https" and alone and text.isascii() and port != 0 and _is_domain(parts.hostname)


def _is_domain(text: str | None) -> bool:
    try:
        return bool(text and address.domain(text))
    except address.MalformedAddressError:
        return False


def _route(row: Row[Any]) -> Route:
    return Route(row.domain, row.target, cast(Https, row.https), row.verify, row.one_per_recipient)
