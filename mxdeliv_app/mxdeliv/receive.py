"""The handler of `POST /mxdeliv`: streams a peer's message into Postfix, and returns Postfix's reply as HTTP.

Stores nothing, and checks only the form of the request. Answers 200 only after Postfix's 250: if the body is
truncated or too large, the connection to Postfix is closed before the end of the data. A request occupies a
thread until its end, so nginx must limit how slow clients may be.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import falcon
from gunicorn.http.errors import ParseException

from chatmail_milter import address, codes
from chatmail_milter.address import network_of
from chatmail_milter.fair_share import BusyError
from chatmail_milter.verdict import Reply, Verdict
from mxdeliv_app.mxdeliv import admission, dot_stuffing, inject, wire
from mxdeliv_app.mxdeliv.admission import client_left
from mxdeliv_app.mxdeliv.smtp_client import ClientLeftError, IPAddress, PostfixAwayError
from mxdeliv_app.mxdeliv.wire import (
    HttpAnswer,
    MalformedRecipientError,
    MalformedRequestError,
    RecipientReply,
)

# Set by nginx, the only program that can connect. Not X-Forwarded-For, which may contain a peer's own values.
PEER_ADDRESS = "X-Real-IP"
_PIECE = 1 << 16
# A peer beyond its share of concurrent messages, or with too many unknown recipients, gets its answer over
# this many seconds, so that it does not retry at once. nginx does that at no cost, by the rate of the answer
# in octets/s; _HEADER is about the size of the HTTP header.
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_ignore_headers
_SLOW_SECONDS, _HEADER = 3, 300

_QUEUED = re.compile(r"queued as ([0-9A-Za-z]+)\Z")

_log = logging.getLogger(__name__)


class RequestStream(Protocol):
    """The interface of `wsgi.input`."""

    def read(self, size: int, /) -> bytes:
        """Reads at most `size` octets; returns none at the end."""


class NoPeerError(Exception):
    """The peer's address is missing. The message tells the operator what to do."""


class BodyCutError(Exception):
    """The body is truncated."""


class MalformedBodyError(Exception):
    """The body is no chunked coding (RFC 9112, 7.1). nginx refuses such requests itself."""


class TooLargeError(Exception):
    """The body exceeds the maximum size of a message."""


class TooManyRecipientsError(Exception):
    """The message has too many recipients, and the peer does not accept JSON with a reply for each."""


class MxdelivResource:
    """Falcon sink for `/mxdeliv` and `/mxdeliv/`, for all methods."""

    def __init__(
        self,
        injector: inject.Injector,
        max_message_size: int,
        max_recipients: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._injector = injector
        self._max_message_size = max_message_size
        self._max_recipients = max_recipients
        self._admission = admission.of_this_process()
        self._clock = clock

    def __call__(self, req: falcon.Request, resp: falcon.Response, **_groups: Any) -> None:
        """Handles a request. (Falcon prescribes the parameters' names.)"""
        try:
            answer = self._post(req) if req.method == "POST" else _not_allowed()
        finally:
            drain(req.stream, 2 * self._max_message_size)
        resp.status = answer.status
        for name, value in answer.headers:
            resp.set_header(name, value)
        resp.content_type = answer.content_type
        resp.data = answer.body

    def _post(self, request: falcon.Request) -> HttpAnswer:
        try:
            envelope = _envelope(request)
        except NoPeerError as error:
            _log.error('event=refused status=503 reason="%s"', error)
            return _verdict(503, codes.OUR_FAULT)
        except MalformedRequestError as error:
            _log.info('event=refused status=400 reason="%s"', error)
            bad_address = isinstance(error, MalformedRecipientError)
            return _verdict(400, codes.BAD_ADDRESS if bad_address else codes.BAD_SYNTAX, f": {error}")
        told = wire.wants_json(request.get_header("Accept"))
        started = self._clock()
        try:
            with self._admission.admitted(network_of(envelope.peer), len(envelope.recipients)):
                replies = self._inject(request, envelope, told)
        except BusyError:
            return _slowly(self._failed(envelope, 503, codes.TOO_MANY_MESSAGES))
        except TooLargeError:
            return self._failed(envelope, 413, codes.TOO_LARGE)
        except TooManyRecipientsError:
            return self._failed(envelope, 503, codes.TOO_MANY_RECIPIENTS)
        except (BodyCutError, ClientLeftError):
            return self._failed(envelope, 503, codes.BODY_CUT)
        except MalformedBodyError:
            return self._failed(envelope, 400, codes.BAD_SYNTAX)
        except inject.UnreportableError:
            # Not `event=failed`, which the statistics count: Postfix and the milter have logged the refusals.
            domain = address.domain_of(envelope.sender)
            _log.info(
                "event=unreportable domain=%s recipients=%d status=%d",
                domain or "<>", len(envelope.recipients), wire.UNREPORTABLE.status,
            )  # fmt: skip
            return wire.UNREPORTABLE
        except PostfixAwayError as error:
            _log.warning('event=queue-away error="%s"', error)
            return self._failed(envelope, 503, codes.QUEUE_AWAY)
        answer = wire.http_answer(replies, told)
        self._note(envelope, replies, answer, self._clock() - started)
        return _slowly(answer) if all(inject.kept_secret(one.reply) for one in replies) else answer

    def _inject(
        self, request: falcon.Request, envelope: inject.InjectedEnvelope, told: bool
    ) -> tuple[RecipientReply, ...]:
        if envelope.size is not None and envelope.size > self._max_message_size:
            raise TooLargeError
        # Postfix would refuse each of them, but more slowly with each error, and close the connection in the
        # end.
        asked = replace(envelope, recipients=envelope.recipients[: self._max_recipients])
        surplus = envelope.recipients[self._max_recipients :]
        if surplus and not told:
            raise TooManyRecipientsError
        left = client_left(request.env.get("gunicorn.socket"))
        if left():
            raise ClientLeftError
        # Not `bounded_stream`, which is empty for chunked uploads. gunicorn ends `stream` at the end of the
        # body.
        body = pieces(request.stream, envelope.size, self._max_message_size)
        with dot_stuffing.DataEncoder() as encoder:
            replies = self._injector.inject(
                asked, _encoded(encoder, body), each_is_told=told, client_left=left
            )
        return replies + tuple(RecipientReply(one, codes.TOO_MANY_RECIPIENTS.said) for one in surplus)

    def _note(
        self,
        envelope: inject.InjectedEnvelope,
        replies: tuple[RecipientReply, ...],
        answer: HttpAnswer,
        seconds: float,
    ) -> None:
        domain = address.domain_of(envelope.sender)
        said = [one.reply for one in replies]
        accepted = sum(reply.accepted for reply in said)
        first = next((reply for reply in said if not reply.accepted), said[0])
        _log.info(
            'event=received domain=%s recipients=%d accepted=%d status=%d reply="%d %s" seconds=%.3f'
            " queue=%s",
            domain or "<>", len(replies), accepted, answer.status, first.code, first.enhanced, seconds,
            _queue_id(said),
        )  # fmt: skip

    def _failed(self, envelope: inject.InjectedEnvelope, status: int, verdict: Verdict) -> HttpAnswer:
        domain = address.domain_of(envelope.sender)
        # The statistics are made from this line, and those of Postfix and the milter (stats/inbound_log.py).
        _log.info("event=failed domain=%s status=%d reason=%s", domain or "<>", status, verdict.reason)
        return _verdict(status, verdict)


def _queue_id(replies: Sequence[Reply]) -> str:
    """Postfix's queue ID, from its reply to the end of data (smtpd(8)); `-` if it accepted no message."""
    found = (_QUEUED.search(reply.text) for reply in replies if reply.accepted)
    return next((one[1] for one in found if one), "-")


def pieces(stream: RequestStream, length: int | None, limit: int) -> Iterator[bytes]:
    """Reads the body in pieces. `length`: Content-Length, if given. `limit`: maximum size.

    Raises `TooLargeError`, `MalformedBodyError`, and `BodyCutError` if the body is truncated.
    """
    seen = 0
    while True:
        try:
            piece = stream.read(min(_PIECE, limit + 1 - seen))
        except OSError as error:
            raise BodyCutError from error
        except ParseException as error:
            raise MalformedBodyError from error
        if not piece:
            break
        seen += len(piece)
        if seen > limit:
            raise TooLargeError
        yield piece
    if length is not None and seen != length:
        raise BodyCutError


def drain(stream: RequestStream, limit: int) -> None:
    """Reads the rest of the body. nginx sends the whole request, and answers 502 if it can't."""
    # The client has closed the connection, or the rest is malformed.
    with contextlib.suppress(OSError, ParseException):
        while limit > 0 and (piece := stream.read(_PIECE)):
            limit -= len(piece)


def _encoded(encoder: dot_stuffing.DataEncoder, body: Iterator[bytes]) -> Iterator[bytes]:
    for piece in body:
        yield from encoder.feed(piece)
    yield from encoder.finish()


def _envelope(request: falcon.Request) -> inject.InjectedEnvelope:
    """The envelope from the header fields. Raises `MalformedRequestError`, `NoPeerError`."""
    return inject.InjectedEnvelope(
        peer=_peer(request.get_header(PEER_ADDRESS)),
        sender=wire.parse_sender(request.get_header(wire.MAIL_FROM)),
        recipients=wire.parse_recipients(request.get_header(wire.MAIL_TO)),
        size=request.content_length,
    )


def _peer(text: str | None) -> IPAddress:
    """The peer's IP address. Raises `NoPeerError`, for a mistake in nginx's configuration."""
    try:
        found = ipaddress.ip_address(text or "")
    except ValueError:
        need = f"nginx needs proxy_set_header {PEER_ADDRESS} $remote_addr: it is missing or no address"
        raise NoPeerError(need) from None
    # A dual-stack socket has IPv4 addresses in IPv4-mapped form (RFC 4291, 2.5.5.2), which XCLIENT does not
    # take.
    return getattr(found, "ipv4_mapped", None) or found


def _verdict(status: int, verdict: Verdict, detail: str = "") -> HttpAnswer:
    return wire.plain(status, replace(verdict.said, text=verdict.text + detail))


def _slowly(answer: HttpAnswer) -> HttpAnswer:
    rate = (_HEADER + len(answer.body)) // _SLOW_SECONDS
    return replace(answer, headers=(*answer.headers, ("X-Accel-Limit-Rate", str(rate))))


def _not_allowed() -> HttpAnswer:
    """RFC 9110, 15.5.6."""
    return HttpAnswer(405, (("Allow", "POST"),), b"Only POST is understood here\r\n")
