"""The pages: for each path its view, the type of its values, and the parameters that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from chatmail_milter.figures.traffic import SPANS
from mxdeliv_app.admin import data, lists, views
from mxdeliv_app.admin.render import View

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Data = TypeVar("_Data", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class AdminPage(Generic[_Data]):
    """A page. `parameters`: names in `PARAMETERS`."""

    view: Callable[..., View[_Data]]
    data: type[_Data]
    parameters: tuple[str, ...] = ()


# JSON Schema of each parameter; all are optional.
PARAMETERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "span": {"type": "string", "enum": list(SPANS), "description": "period of the traffic"},
        "sort": {"type": "string", "enum": list(views.ORDERS), "default": "last_contact"},
        "filter": {"type": "string", "enum": list(views.FILTERS), "default": "all"},
        "page": {"type": "integer", "minimum": 1, "maximum": views.PAGE_MAX, "default": 1},
        "domain": {"type": "string", "description": "a peer; of peers, the beginning of its domain"},
        "reason": {"type": "string", "description": "why messages wait, in Postfix's words"},
        "begins": {"type": "string", "maxLength": lists.ADDRESS_MAX, "pattern": "^[^\\x00]*$"},
        "after": {"type": "string", "maxLength": lists.ADDRESS_MAX, "pattern": "^[^\\x00]*$"},
    }
)

PAGES: Mapping[str, AdminPage[Any]] = MappingProxyType(
    {
        "": AdminPage(views.overview, data.OverviewPage, ("span",)),
        "/peers": AdminPage(views.peers, data.PeersPage, ("sort", "filter", "domain", "page")),
        "/peers/{domain}": AdminPage(views.peer, data.PeerPage, ("span",)),
        "/queue": AdminPage(views.mail_queue, data.QueuePage, ("domain", "reason", "page")),
        "/queue/{queue_id}": AdminPage(views.message, data.MessagePage),
        "/accounts": AdminPage(lists.accounts, data.AccountsPage, ("begins", "after")),
        "/blocklist": AdminPage(lists.blocks, data.BlocklistPage, ("page",)),
        "/federation": AdminPage(lists.federation, data.FederationPage),
        "/routes": AdminPage(lists.routes, data.RoutesPage),
        "/endpoints": AdminPage(lists.endpoints, data.EndpointsPage, ("page",)),
        "/tokens": AdminPage(lists.tokens, data.TokensPage),
        "/settings": AdminPage(lists.settings, data.SettingsPage),
    }
)
