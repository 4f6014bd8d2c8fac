"""Several processes of tests use one lab: it is up for all of them, and the last takes it down."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.command import Progress
from tests.lab.errors import LabError
from tests.lab.lab import HostStatus, Lab, silent
from tests.lab.plan import Paths


class Noted(Lab):
    """A lab of one host that is nowhere but in a list of what was done to it."""

    def __init__(self, place: Path, done: list[str], *, fails: bool = False) -> None:
        super().__init__(Paths(place / "cache", place / "state", place / "run"))
        self.done, self.fails = done, fails

    def status(self) -> list[HostStatus]:
        return [HostStatus("a", "_a.lab", "10.77.0.11", "up" if self.done[-1:] == ["up"] else "down")]

    def up(self, progress: Progress = silent) -> None:
        if self.fails:
            raise LabError("wait: there is no room")
        self.paths.run.mkdir(exist_ok=True)
        if self.done[-1:] != ["up"]:
            self.done.append("up")

    def down(self, progress: Progress = silent) -> None:
        shutil.rmtree(self.paths.run, ignore_errors=True)
        self.done.append("down")


@pytest.mark.parametrize("first_out", [0, 1])
def test_the_last_of_two_takes_it_down(tmp_path: Path, first_out: int) -> None:
    done: list[str] = []
    users = [ExitStack(), ExitStack()]
    for user in users:
        user.enter_context(Noted(tmp_path, done).in_use())
    assert done == ["up"]
    users.pop(first_out).close()
    assert done == ["up"]
    users.pop().close()
    assert done == ["up", "down"]


def test_one_that_was_up_before_stays(tmp_path: Path) -> None:
    done: list[str] = []
    Noted(tmp_path, done).up()
    with Noted(tmp_path, done).in_use():
        pass
    assert done == ["up"]


def test_who_wants_to_keep_it_keeps_it(tmp_path: Path) -> None:
    done: list[str] = []
    with Noted(tmp_path, done).in_use(keep=True):
        pass
    assert done == ["up"]


def test_what_came_up_by_half_is_taken_down(tmp_path: Path) -> None:
    done: list[str] = []
    with pytest.raises(LabError, match="no room"), Noted(tmp_path, done, fails=True).in_use():
        pass
    assert done == ["down"]
