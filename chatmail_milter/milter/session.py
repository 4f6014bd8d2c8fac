"""One connection of Postfix, as pymilter callbacks (only this file and `daemon.py` use pymilter).

Callbacks and macros that no rule needs are negotiated away. Postfix waits for an answer at two stages only:
at each recipient (policy and rate), and at the end of the message (the verdict). A bug in between makes the
next answer a 451.

libmilter protocol: https://www.milter.org/developers/api/ ; Postfix: MILTER_README.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import Any

import milter

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.gate.gate import Direction
from chatmail_milter.milter.admission import AdmissionControl, SessionStart
from chatmail_milter.milter.transaction import (
    BOUNCES,
    FROM_PEERS,
    LET_BY,
    ROADS,
    SUBMITTED,
    Decision,
    RuleSettings,
    Transaction,
    canonical,
    peer_address,
)
from chatmail_milter.rules.domains import AUTHORS_KEPT, RecipientScope, RecipientSorter, forged_author
from chatmail_milter.verdict import Action, Verdict

log = logging.getLogger("chatmail-milter")

ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.CHGFROM | milter.SETSYMLIST
_NOT_ASKED = milter.P_NOHELO | milter.P_NODATA | milter.P_NOUNKNOWN
# A DKIM signature in simple form is of every octet, the blanks after the colon included.
_AS_IT_IS = milter.P_HDR_LEADSPC
# Each answer costs a round trip. (libmilter answers itself where Postfix doesn't know these.)
_NOT_ANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_HDR | milter.P_NR_EOH | milter.P_NR_BODY
# Postfix also passes recipients that it refused; the first of these macros marks them (see `_repeated`).
_REFUSED = milter.P_RCPT_REJ
_MAILER, _STATUS, _TEXT = "{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}"
# To one that it takes, the last is what it made of the address; this one, of the sender's.
_RESOLVED_SENDER = "{mail_addr}"
_LOGIN = "{auth_authen}"
# The stages that are answered. The others only collect.
ANSWERED = ("envrcpt", "eom")
# Postfix sends macros with every stage and every header field, also of stages that it isn't to tell us. Where
# none are named it sends what it sends to everybody, and looks some of that up for it; `{none}` is nothing.
_MACROS = {
    milter.M_CONNECT: "{daemon_name}",
    milter.M_HELO: "{none}",
    milter.M_ENVFROM: _LOGIN,
    milter.M_ENVRCPT: f"{_MAILER} {_STATUS} {_TEXT}",
    milter.M_DATA: "{none}",
    milter.M_EOM: "i",
    milter.M_EOH: "{none}",
}

# Fields and body are held and looked at in one go at the end of the message: libmilter's threads take turns,
# and what runs a little at each callback runs it all from cold caches. More is looked at as it comes.
_FIELDS_HELD = 32
_CHUNKS_HELD = 1  # of 64 KiB at most

# libmilter refuses more than 980 octets of reply text; clients see no use in more than this.
_REPLY_MOST = 600

CONTINUE, NO_REPLY = int(milter.CONTINUE), int(milter.NOREPLY)
_ANSWERS = {Action.PASS: milter.CONTINUE, Action.REJECT: milter.REJECT, Action.TEMPFAIL: milter.TEMPFAIL}


class MilterSession:
    """One connection of Postfix, and the current message on it.

    `_verdict` is what the recipients that concern us were told, None before the first. `_sorter` is there
    from MAIL on, on roads that are judged; `_authors` are the From fields of a user's message of another
    domain. `_refused` is what
    Postfix told the first recipient that it refused. `_fields` and `_chunks` are what the transaction has not
    been given yet. `_beginning` is when Postfix connected: of a user's session, before the login.
    """

    def __init__(self, settings: RuleSettings, control: AdmissionControl) -> None:
        self._settings = settings
        self._control = control
        self._beginning = SessionStart(-1, float("-inf"))
        self._named = self._road = ""
        # What stands between the colon and the value of a field: in values, if Postfix can do that.
        self._lead = ""
        self._peer: Peer = None
        self._sender = ""
        self._began = self._asked = 0.0
        self._login = ""
        self._sorter: RecipientSorter | None = None
        self._authors: list[bytes] = []
        self._verdict: Verdict | None = None
        self._refused: Verdict | None = None
        self._transaction: Transaction | None = None
        self._fields: list[tuple[str, bytes]] = []
        self._chunks: list[bytes] = []
        self._header_ends = False
        self._spoiled = False

    def negotiate(self, ctx: Any, offer: list[int]) -> int:
        offer[0] &= ACTIONS
        offer[1] &= _NOT_ASKED | _NOT_ANSWERED | _REFUSED | _AS_IT_IS
        self._lead = " " if offer[1] & _AS_IT_IS else ""
        offer[2] = offer[3] = 0
        # Here, since Postfix waits for this answer before it greets the client.
        self._beginning = self._control.begin()
        if offer[0] & milter.SETSYMLIST:
            for stage, names in _MACROS.items():
                # For a sender's Postfix asks another process.
                resolved = stage == milter.M_ENVFROM and not self._settings.domains.are_all
                ctx.setsymlist(stage, f"{names} {_RESOLVED_SENDER}" if resolved else names)
        return CONTINUE

    def connect(self, ctx: Any, _name: str, _family: int, peer: object) -> int:
        self._peer = peer_address(peer[0]) if isinstance(peer, tuple) else None
        # Last: without a road nothing gets in, whatever failed before.
        self._named = self._road = ctx.getsymval("{daemon_name}") or ""
        return NO_REPLY

    def envfrom(self, ctx: Any, mail_from: bytes, *_parameters: bytes) -> int:
        self._begin()
        self._began = time.monotonic()
        given = mail_from.decode(errors="replace")
        self._sender = canonical(given)
        # Only where Postfix named a service: libmilter reads beyond a list of macros that lacks a value.
        if self._named and self._named not in LET_BY:
            self._login = canonical(ctx.getsymval(_LOGIN) or "")
            if self._named not in ROADS:
                self._road = SUBMITTED if self._login else FROM_PEERS
            domains, spellings = self._settings.domains, [given]
            if not domains.are_all:
                spellings.append(ctx.getsymval(_RESOLVED_SENDER) or "")
            local = self._peer is None or self._peer.is_loopback
            self._sorter = RecipientSorter(
                domains, ROADS[self._road], self._sender, spellings, self._login, local=local
            )
        return NO_REPLY

    def envrcpt(self, ctx: Any, recipient: bytes, *_parameters: bytes) -> int:
        if self._road in LET_BY:
            return int(milter.ACCEPT)
        self._asked = time.monotonic()
        if self._sorter is None:
            log.error("road=unknown verdict=tempfail reason=daemon-name")
            return answer(ctx, codes.OUR_FAULT.because("daemon-name"))
        if _is_refused(ctx):
            # Postfix has answered it already, and ignores our answer.
            if self._refused is None:
                self._refused = _refusal(ctx, recipient)
            return CONTINUE
        text = recipient.decode(errors="replace")
        concern = RecipientScope.JUDGED
        if not self._settings.domains.are_all:
            concern = self._sorter.sort((text, ctx.getsymval(_TEXT) or ""))
        if self._spoiled:
            return answer(ctx, codes.OUR_FAULT)
        if concern is RecipientScope.OTHERS:
            return CONTINUE
        if concern is RecipientScope.SPLIT:
            self._log(codes.OTHER_TRANSACTION, "-", 0, _domain(self._sender))
            return answer(ctx, codes.OTHER_TRANSACTION)
        if self._verdict is None:
            self._verdict = self._admit(self._sorter)
        if self._transaction is not None:
            self._transaction.recipient(text)
            if self._sorter.direction is Direction.OUT:
                self._control.addressed(self._sender)
        return answer(ctx, self._verdict)

    def header(self, _ctx: Any, name: str, value: bytes) -> int:
        self._fields.append((name, value if self._lead else b" " + value))
        if self._sorter is not None and self._sorter.watches_author and name.strip().lower() == "from":
            self._authors = [*self._authors, value][:AUTHORS_KEPT]
        if len(self._fields) > _FIELDS_HELD:
            self._look()
        return NO_REPLY

    def eoh(self, _ctx: Any) -> int:
        self._header_ends = True
        return NO_REPLY

    def body(self, _ctx: Any, chunk: bytes) -> int:
        self._chunks.append(chunk)
        if len(self._chunks) > _CHUNKS_HELD:
            self._look()
        return NO_REPLY

    def eom(self, ctx: Any) -> int:
        self._asked = time.monotonic()
        self._look()
        repeated = self._repeated()
        if repeated is not None:
            self._begin()
            return answer(ctx, repeated)
        decision = self._decide()
        if decision.verdict.action is Action.PASS:
            for number in decision.forged:
                ctx.chgheader("Authentication-Results", number, None)
            if decision.null_sender:
                ctx.chgfrom("<>")
            for change in decision.header:
                value = None if change.value is None else self._lead + change.value
                if change.number:
                    ctx.chgheader(change.name, change.number, value)
                else:
                    ctx.addheader(change.name, value)
            if self._transaction is not None and self._transaction.author is not None:
                self._control.wrote(self._transaction.author)
        size = self._transaction.size if self._transaction is not None else 0
        self._log(decision.verdict, ctx.getsymval("i") or "-", size, decision.domain)
        self._begin()
        return answer(ctx, decision.verdict)

    def abort(self, _ctx: Any) -> int:
        self._begin()
        return CONTINUE

    def spoil(self) -> int:
        """Notes a bug of ours, after which this message gets a 451."""
        self._spoiled = True
        return NO_REPLY

    def _begin(self) -> None:
        self._sender = self._login = ""
        self._verdict = self._refused = self._transaction = self._sorter = None
        self._authors = []
        self._fields, self._chunks = [], []
        self._header_ends = self._spoiled = False

    def _look(self) -> None:
        """Give the transaction what is held."""
        fields, self._fields = self._fields, []
        chunks, self._chunks = self._chunks, []
        if self._transaction is None:
            return
        self._transaction.fields(fields)
        if self._header_ends:
            self._header_ends = False
            self._transaction.end_of_header()
        for chunk in chunks:
            self._transaction.body(chunk)

    def _admit(self, sorter: RecipientSorter) -> Verdict:
        verdict, direction = sorter.refused_sender(), sorter.direction
        if verdict is None:
            admission = self._control.admit(direction, self._sender, self._peer, self._beginning)
            verdict = admission.verdict
        if verdict.action is Action.PASS:
            # Of our own user Postfix, or the line above, has compared login and sender.
            login = self._login if sorter.watches_author else ""
            self._transaction = Transaction(
                self._settings, direction, self._peer, self._sender, admission.policy, login=login
            )
        elif verdict is not codes.STORE_AWAY:
            self._log(verdict, "-", 0, _domain(self._sender))
        return verdict

    def _decide(self) -> Decision:
        if self._sorter is None:
            raise RuntimeError("a message without an envelope")
        if self._spoiled:
            return Decision(codes.OUR_FAULT)
        if self._sorter.watches_author:
            forged = forged_author(self._settings.domains, self._authors, self._sender)
            if forged is not None:
                return Decision(forged)
        if self._transaction is None:
            if self._sorter.lets_by:
                return Decision(codes.OTHER_DOMAIN)
            if self._verdict is None:
                raise RuntimeError("a message without recipients")
            # Postfix ends no message whose recipients were all refused.
            return Decision(self._verdict)
        decision = self._transaction.decide()
        passes = decision.verdict.action is Action.PASS
        if passes and self._sorter.direction is Direction.OUT:
            # The message may have taken long to come.
            verdict = self._control.readmit(self._sender, self._peer, self._beginning)
            return decision if verdict.action is Action.PASS else Decision(verdict)
        if self._road == BOUNCES and passes and (decision.null_sender or not self._sender):
            return Decision(codes.UNREPORTABLE_REFUSAL, domain=decision.domain)
        return decision

    def _repeated(self) -> Verdict | None:
        """Repeats the refusal of a recipient as the reply to a message without content.

        A client that pipelines learns of a refused recipient when Postfix has agreed to DATA for the others.
        If it does not want to send the message then, it ends the data with a lone dot (RFC 2920, 3.1).
        filtermail does, and reports the reply to that for all recipients. Postfix has logged the refusal.
        """
        if self._spoiled or self._transaction is None or not self._transaction.empty:
            return None
        return self._refused

    def _log(self, verdict: Verdict, queue_id: str, size: int, domain: str) -> None:
        line = f"road={self._road} verdict={verdict.action.value} reason={verdict.reason}"
        # `decided`: for how many seconds Postfix has waited for this verdict.
        now = time.monotonic()
        line += f" queue={queue_id} size={size} decided={now - self._asked:.6f}"
        if ROADS.get(self._road) is Direction.IN and verdict is not codes.OTHER_DOMAIN:
            # The relay counts by these what peers bring (mxdeliv_app/stats/inbound_log.py).
            line += f" domain={domain or '-'} seconds={now - self._began:.4f}"
        # Not by `logging`: it costs more than all of the policy's rules, and writes with a lock held that the
        # other threads then wait for. One write is one line.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _domain(sender: str) -> str:
    """The domain of an envelope sender; empty if it has no valid one."""
    try:
        return address.domain(address.domain_of(sender))
    except MalformedAddressError:
        return ""


def _is_refused(ctx: Any) -> bool:
    """Whether Postfix has refused the recipient, by the macros it sends then (smtpd_milter.c).

    It sends `error` and a status. For a recipient that it accepted and will bounce (one of several that can't
    be delivered to) it sends the transport and next hop instead: `error` and a status with its text.
    """
    return ctx.getsymval(_MAILER) == "error" and " " not in (ctx.getsymval(_STATUS) or "")


def _refusal(ctx: Any, recipient: bytes) -> Verdict:
    """What Postfix told a recipient that it refused, from the same macros."""
    status, text = ctx.getsymval(_STATUS) or "", ctx.getsymval(_TEXT) or ""
    return codes.recipient_refused(status, recipient.decode(errors="replace").strip("<>"), text)


def answer(ctx: Any, verdict: Verdict) -> int:
    """Sets the reply, and returns libmilter's code for it."""
    if verdict.action is not Action.PASS:
        # libmilter takes the text for a printf format, and Postfix turns %% back into %. The enhanced code
        # goes with the text: libmilter knows none with a colon, as the reply to too much mail has it.
        text = "".join(c if c.isprintable() else " " for c in f"{verdict.enhanced} {verdict.text}")
        ctx.setreply(str(verdict.code), None, text[:_REPLY_MOST].replace("%", "%%"))
    return int(_ANSWERS[verdict.action])
