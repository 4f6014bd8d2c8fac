"""The interpreter of our Containerfile understands what is in it, and nothing that it would get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.container import image
from tests.container.containerfile import Instruction, parse, sources

LINES = """\
# A comment.
FROM debian:12
RUN true \\
    # within a command
    && false
COPY a b /there/
CMD ["/sbin/init", "a b"]
"""


def test_instructions_come_in_order_with_their_arguments() -> None:
    assert parse(LINES) == [
        Instruction("FROM", ("debian:12",)),
        Instruction("RUN", ("true     && false",)),
        Instruction("COPY", ("a", "b", "/there/")),
        Instruction("CMD", ("/sbin/init", "a b")),
    ]


def test_ours_is_understood() -> None:
    names = [one.name for one in image.instructions()]
    assert names[0] == "FROM"
    assert {"ADD", "COPY", "RUN", "VOLUME"} <= set(names)


@pytest.mark.parametrize(
    "line",
    [
        "ENV A=b",
        "ARG A",
        "USER nobody",
        "run true",
        "FROM debian:13",
        "RUN --mount=type=cache,target=/x true",
        'RUN ["true"]',
        "RUN <<EOF",
        "COPY --from=x a /b/",
        "COPY $A /b/",
        "COPY",
        "CMD /sbin/init",
        "VOLUME [1]",
        'VOLUME "/x"',
    ],
)
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(f"FROM debian:12\n{line}\n")


def test_nothing_may_stand_before_from() -> None:
    with pytest.raises(ValueError, match="FROM"):
        parse("RUN true\nFROM debian:12\n")


@pytest.mark.parametrize("words", [("a", "/file"), ("directory", "/there/"), ("a", "missing-*", "/there/")])
def test_only_files_that_are_there_are_copied(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "directory").mkdir()
    assert sources(Instruction("COPY", ("a*", "/there/")), tmp_path) == [tmp_path / "a"]
    with pytest.raises(ValueError, match=r"."):
        sources(Instruction("COPY", words), tmp_path)
