"""Error answers of the pages."""

from __future__ import annotations

from typing import Any

from falcon import HTTPError


class ProblemError(HTTPError):
    """An error with an HTTP status. `title`: what is wrong. `field`: the form field in question."""

    def __init__(self, status: int, title: str, field: str | None = None, retry_after: int = 0) -> None:
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        if status == 401:
            # RFC 9110, 15.5.2 wants a scheme. Browsers know none of this name, and ask nobody.
            headers["WWW-Authenticate"] = "Form"
        super().__init__(status, title=title, headers=headers)
        self.field = field

    def to_dict(self, obj_type: Any = dict) -> Any:
        """The error as JSON values."""
        return obj_type(title=self.title, field=self.field)


def busy() -> ProblemError:
    """The error while others wait for the same slow value."""
    return ProblemError(503, "Too many ask at once, try again", retry_after=5)
