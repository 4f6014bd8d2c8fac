"""Each citation of our documents in code, configuration and documents exists: page, section, heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROOMS = ("chatmail_milter", "mxdeliv_app", "postfix", "dovecot", "ansible", "tests", "docs")
# Where a path of a page may begin, besides the top.
FOLDERS = ("chatmail_milter", "mxdeliv_app", "ansible/roles/chatmail")
KINDS = ("", ".cf", ".conf", ".j2", ".lua", ".md", ".py", ".yml")
# `docs/wire.md, 2.1 and 2.4` or `docs/gate.md, 3`; pages of one folder leave `docs/` out.
CITED = re.compile(r"(?<![\w/.-])(?P<page>(?:docs/)?[a-z][a-z-]*\.md)\b(?P<sections>, \d[\d., tonad]*)?")
LINK = re.compile(r"\]\((?P<page>[A-Za-z/-]*\.md)?(?:#(?P<anchor>[^)]+))?\)")
SECTION = re.compile(r"\d+(?:\.\d+)?")
HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


def pages() -> dict[str, str]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    return {str(page.relative_to(ROOT)): page.read_text() for page in found}


def texts() -> Iterator[tuple[Path, str]]:
    paths = [*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*"))]
    for path in paths:
        if path.suffix in KINDS and path.is_file() and ".md" in (text := path.read_text()):
            yield path, text


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = (heading["text"].lower() for heading in HEADING.finditer(page))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def numbers(page: str) -> set[str]:
    return {found[0] for heading in HEADING.finditer(page) if (found := SECTION.match(heading["text"]))}


def test_each_block_of_code_begins_and_ends_on_lines_of_its_own() -> None:
    """Else it is text: neither readers nor the tests that run a page's commands find them."""
    blocks = 0
    for name, text in pages().items():
        fences = [line.strip() for line in text.splitlines() if "```" in line]
        assert all(re.fullmatch(r"```[^`]*", fence) for fence in fences[::2]), name
        assert {*fences[1::2]} <= {"```"}, name
        assert len(fences) % 2 == 0, name
        blocks += len(fences) // 2
    assert blocks > 50


def test_each_page_and_section_that_is_cited_is_there() -> None:
    known, cited = pages(), 0
    for path, text in texts():
        for one in CITED.finditer(text):
            name = one["page"]
            page = known.get(name) or (known.get(f"docs/{name}") if path.parent.name == "docs" else None)
            assert page is not None, f"{path}: {one[0]}"
            cited += 1
            missing = set(SECTION.findall(one["sections"] or "")) - numbers(page)
            assert not missing, f"{path}: {one[0]}"
    assert cited > 50


def test_each_link_between_pages_leads_to_a_heading() -> None:
    known, linked = pages(), 0
    for name, text in known.items():
        for link in LINK.finditer(text):
            target = str(Path(name).parent / link["page"]) if link["page"] else name
            assert target in known, f"{name}: {link[0]}"
            if link["anchor"]:
                linked += 1
                assert link["anchor"] in anchors(known[target]), f"{name}: {link[0]}"
    assert linked


def test_each_file_that_the_pages_name_is_there() -> None:
    """From the top, or in the folder of the file named before: CONTRIBUTING names them in that way."""
    named = 0
    for page, text in pages().items():
        folder = ROOT
        for found in re.finditer(r"`((?:[\w.]+/)*[a-z0-9_]+\.(?:py|lua|cf|j2|yml))`", text):
            path = Path(found[1])
            if path.parent != Path("."):
                candidates = [ROOT / path, *(ROOT / room / path for room in FOLDERS)]
                there = next((one for one in candidates if one.exists()), None)
                assert there is not None, f"{page}: {path}"
                folder, named = there.parent, named + 1
            elif "## Three walks" in text[: found.start()] and "## How we write" not in text[: found.start()]:
                assert (folder / path).exists(), f"{page}: {path} in {folder}"
    assert named > 40


def test_each_target_and_playbook_that_the_pages_name_is_there() -> None:
    """With the variables that a command sets."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    options = "".join(path.read_text() for path in ROOT.glob("ansible/roles/*/meta/argument_specs.yml"))
    made, played = set(), set()
    for page, text in pages().items():
        # CHANGELOG: also what older versions had.
        blocks = re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        for command in [*re.findall(r"`([^`\n]+)`", text), *"\n".join(blocks).splitlines()]:
            if page != "CHANGELOG.md":
                made |= {(page, name) for name in re.findall(r"(?:^|&& )make ([a-z0-9-]+)", command.strip())}
            for playbook in re.findall(r"ansible-playbook (?:-i \S+ )?([a-z]+\.yml)", command):
                assert (ROOT / "ansible" / playbook).exists(), f"{page}: {command}"
                played.add(playbook)
            for name in re.findall(r"--extra-vars (\w+)=", command):
                assert f"\n      {name}:" in options, f"{page}: {command}"
    assert {one for one in made if one[1] not in targets} == set()
    assert {"deb", "test-upgrade"} <= {name for _, name in made}
    assert played == {"site.yml", "beside.yml"}
