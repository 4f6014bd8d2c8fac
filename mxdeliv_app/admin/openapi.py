"""Describes the JSON of the admin pages by OpenAPI, from the tables of pages and orders and from their types.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import functools
import http
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from mxdeliv_app.admin.data import LoggedIn, Ordered, Problem, SessionState
from mxdeliv_app.admin.orders import ORDERS, Field
from mxdeliv_app.admin.pages import PAGES, PARAMETERS, AdminPage
from mxdeliv_app.admin.passwords import LONGEST
from mxdeliv_app.admin.requests import HOME
from mxdeliv_app.admin.sessions import COOKIE

_REF = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
# Malformed, without the session's token or its right, too large, and of another type.
_OF_FORMS = (400, 403, 413, 415)
# Empty, without a body.
_DONE: Mapping[str, Any] = {"type": "object", "additionalProperties": False}


@functools.cache
def document() -> dict[str, Any]:
    """The document."""
    kinds = (Problem, SessionState, LoggedIn, Ordered, *(page.data for page in PAGES.values()))
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    of = dict(zip(kinds, references, strict=True))
    answers = _Answers(of[Problem])
    paths: dict[str, Any] = {
        f"{HOME}/login": {"get": _form(answers), "post": _login(answers, of[LoggedIn])},
        f"{HOME}/logout": {"post": _post("End the session", {}, answers.of(_DONE, _OF_FORMS))},
        f"{HOME}/session": {"get": {"summary": "The session", "responses": answers.of(of[SessionState])}},
        f"{HOME}/openapi.json": {"get": {"summary": "This", "responses": answers.of({"type": "object"})}},
    }
    paths |= {HOME + path: {"get": _page(path, page, answers, of)} for path, page in PAGES.items()}
    for name, order in ORDERS.items():
        summary = f"chatmailctl {name}"
        responses = answers.of(of[Ordered], (*_OF_FORMS, 404, 409, 422, 503))
        paths[f"{HOME}/orders/{name}"] = {"post": _post(summary, order.fields, responses)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Admin pages of a chatmail relay", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": COOKIE}},
        },
        "security": [{"session": []}],
    }


class _Answers:
    """Makes the answers of an operation: 401 of those without a session, and `Problem` for other errors."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self._problem = problem

    def of(self, good: Mapping[str, Any], errors: Iterable[int] = ()) -> dict[str, Any]:
        """The answers by status."""
        return {"200": _json("OK", good)} | self.errors(*errors)

    def errors(self, *codes: int) -> dict[str, Any]:
        """The errors among them."""
        return {
            str(code): _json(http.HTTPStatus(code).phrase, self._problem) for code in sorted({401, *codes})
        }


def _page(path: str, page: AdminPage[Any], answers: _Answers, of: Mapping[Any, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    errors = {503, *([404] if names else []), *([422] if page.parameters else [])}
    ours = [{"name": one, "in": "path", "required": True, "schema": _TEXT} for one in names]
    asked = [{"name": one, "in": "query", "schema": PARAMETERS[one]} for one in page.parameters]
    return {
        "summary": (page.data.__doc__ or "").partition("\n")[0],
        "parameters": ours + asked,
        "responses": answers.of(of[page.data], errors),
    }


def _form(answers: _Answers) -> dict[str, Any]:
    return {"summary": "The form for people, whose status is 401", "responses": answers.errors()}


def _login(answers: _Answers, good: Mapping[str, Any]) -> dict[str, Any]:
    password = Field(str, _TEXT | {"maxLength": LONGEST})
    responses = answers.of(good, (*_OF_FORMS, 422, 429, 503))
    # Who has a session already needs its token for this, too.
    return _post("Begin a session", {"password": password}, responses, token=False) | {"security": []}


def _post(
    summary: str, fields: Mapping[str, Field], responses: Mapping[str, Any], *, token: bool = True
) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {**({"csrf": _TEXT} if token else {}), **dict(_properties(fields))},
        "required": [*(["csrf"] if token else []), *(name for name, one in fields.items() if one.required)],
        "additionalProperties": False,
    }
    kinds = ("application/x-www-form-urlencoded", "application/json")
    body = {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}
    return {"summary": summary, "requestBody": body, "responses": responses}


def _properties(fields: Mapping[str, Field]) -> Iterator[tuple[str, Any]]:
    for name, field in fields.items():
        yield name, field.schema if field.required else {"anyOf": [{"const": ""}, field.schema]}


def _json(what: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
