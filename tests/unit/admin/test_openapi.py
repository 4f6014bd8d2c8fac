"""The OpenAPI document of the admin pages: it has every route, order, parameter and value that there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import falcon
import pytest
from falcon.inspect import inspect_routes

from mxdeliv_app.admin import openapi
from mxdeliv_app.admin.orders import ORDERS
from mxdeliv_app.admin.pages import PAGES
from tests.unit.admin.site import QUEUE_ID, AdminSite

WHICH = {"domain": "b.test", "queue_id": QUEUE_ID}


def test_it_has_each_route_and_no_other(admin: AdminSite) -> None:
    routes = set()
    for route in inspect_routes(admin.client.app):
        names = ORDERS if "{name}" in route.path else [""]
        methods = {one.method.lower() for one in route.methods if not one.internal} - {"head"}
        routes |= {(route.path.replace("{name}", name), method) for name in names for method in methods}
    described = {
        (path, method) for path, operations in openapi.document()["paths"].items() for method in operations
    }
    assert described == routes


def test_it_is_served_to_whoever_has_a_session(admin: AdminSite) -> None:
    assert admin.json("/openapi.json") == json.loads(json.dumps(openapi.document()))
    assert AdminSite(admin.engine).get("/openapi.json").status_code == 401


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_the_parameters_that_it_names_and_has_the_keys_that_it_promises(
    admin: AdminSite, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    real: Callable[..., Any] = falcon.Request.get_param

    def spied(request: falcon.Request, name: str, *args: Any, **options: Any) -> Any:
        read.add(name)
        return real(request, name, *args, **options)

    monkeypatch.setattr(falcon.Request, "get_param", spied)
    found = admin.json(path.format(**WHICH))
    assert read == set(PAGES[path].parameters)
    document = openapi.document()
    schema = document["components"]["schemas"][PAGES[path].data.__name__]
    assert found.keys() == schema["properties"].keys()
    operation = document["paths"][f"/admin{path}"]["get"]
    assert {one["name"] for one in operation["parameters"]} >= read


def test_it_is_openapi() -> None:
    """All references lead somewhere, and each operation says what it answers without a session."""
    document = openapi.document()
    assert document["openapi"] == "3.1.0"
    references = set(_references(document))
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "401" in operation["responses"]
            assert "500" not in operation["responses"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)
