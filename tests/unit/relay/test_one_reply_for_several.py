"""One SMTP reply for several recipients: how the fallback splits them, and the text of the reply."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.verdict import Reply
from mxdeliv_app.relay.fallback import one_for_all
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient

OK, GONE, FULL, LATER, OTHER = (
    Reply(250, "2.0.0", "OK"),
    Reply(550, "5.1.1", "Gone"),
    Reply(552, "5.2.2", "Full"),
    Reply(451, "4.3.0", "Later"),
    Reply(421, "4.4.5", "x"),
)


class Postfix:
    """Takes messages back, but for those whose number is in `refused`."""

    def __init__(self, refused: Sequence[int] = ()) -> None:
        self.groups: list[list[str]] = []
        self._refused = refused

    def __call__(self, _letter: QueuedMessage, recipients: Sequence[Recipient]) -> list[Reply]:
        self.groups.append([one.raw for one in recipients])
        taken = len(self.groups) - 1 not in self._refused
        reply = Reply(250, "2.0.0", "Ok: queued") if taken else Reply(452, "4.3.1", "Full disk")
        return [reply] * len(recipients)


def settle(replies: Sequence[Reply], postfix: Postfix) -> list[Reply]:
    recipients = [Recipient(f"u{n}@b.test", "b.test", f"u{n}@b.test") for n in range(len(replies))]
    letter = QueuedMessage("a@here.test", tuple(recipients), b"x")
    return one_for_all(letter, recipients, replies, postfix)


@pytest.mark.parametrize(
    "replies", [[OK, OK], [GONE, GONE], [LATER, LATER], [LATER, OTHER], [OK], [GONE], []]
)
def test_what_one_reply_can_say_is_left_as_it_is(replies: list[Reply]) -> None:
    postfix = Postfix()
    assert settle(replies, postfix) == replies
    assert postfix.groups == []


@pytest.mark.parametrize(
    ("replies", "groups"),
    [
        ([OK, GONE], [["u1@b.test"]]),
        ([LATER, OK, OTHER], [["u0@b.test", "u2@b.test"]]),
        ([GONE, FULL], [["u0@b.test"], ["u1@b.test"]]),
        ([GONE, LATER, GONE], [["u0@b.test", "u2@b.test"], ["u1@b.test"]]),
        ([OK, GONE, FULL, LATER, GONE], [["u1@b.test", "u4@b.test"], ["u2@b.test"], ["u3@b.test"]]),
    ],
)
def test_who_has_no_message_goes_back_by_outcome(replies: list[Reply], groups: list[list[str]]) -> None:
    postfix = Postfix()
    assert {one.code for one in settle(replies, postfix)} == {250}
    assert postfix.groups == groups


@pytest.mark.parametrize("refused", [[0], [1]])
def test_what_postfix_does_not_take_back_is_tried_again(refused: list[int]) -> None:
    assert {one.code for one in settle([OK, GONE, FULL], Postfix(refused))} == {451}


@given(st.lists(st.sampled_from([OK, GONE, FULL, LATER, OTHER]), min_size=1, max_size=6))
def test_each_message_that_goes_back_is_nearer_to_one_reply(replies: list[Reply]) -> None:
    """So no message comes back as it was, and nobody is left out or goes twice."""
    postfix = Postfix()
    settle(replies, postfix)
    back = [one for group in postfix.groups for one in group]
    without = [f"u{n}@b.test" for n, reply in enumerate(replies) if reply != OK]
    assert sorted(back) == (without if postfix.groups else [])
    assert all(len(group) < len(replies) for group in postfix.groups)
