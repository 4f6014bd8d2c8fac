"""The container: its page has what its Containerfile has; owners of files in volumes have fixed numbers."""

from __future__ import annotations

import re

from deb.units import files
from tests.container import box, image
from tests.lab.plan import REPOSITORY

PAGE = (REPOSITORY / "docs/container.md").read_text("utf-8")
CONTAINER = REPOSITORY / "ansible/container"
# Of Debian's packages whose files are in the volumes.
OF_DEBIAN = {"opendkim", "postdrop", "postfix"}


def named(sysusers: str) -> list[tuple[str, str]]:
    """Name and number of each user and group."""
    return re.findall(r"^[ug] (\S+) (\S+)", sysusers, re.M)


def test_the_page_publishes_the_ports_and_keeps_the_volumes_of_the_image() -> None:
    ports = [port for one, port in re.findall(r"--publish=(\d+):(\d+)", PAGE) if one == port]
    assert ports == list(image.arguments("EXPOSE"))
    volumes = image.arguments("VOLUME")
    assert sorted(re.findall(r"--volume=[a-z-]+:(/\S+)", PAGE)) == sorted(volumes)
    assert sorted(re.findall(r"^\| `(/\S+)` \|", PAGE, re.M)) == sorted(volumes)


def test_the_page_gives_the_capabilities_that_the_test_gives() -> None:
    assert re.findall(r"--cap-add=(\S+)", PAGE) == [",".join(box.ADDED)]


def test_the_page_names_the_environment_variables_of_the_inventory_and_the_unit_passes_them() -> None:
    read = re.findall(r"'(CHATMAIL_\w+)'", (CONTAINER / "inventory.yml").read_text("utf-8"))
    unit = (CONTAINER / "chatmail-playbook.service").read_text("utf-8")
    passed = re.findall(r"^PassEnvironment=(.*)$", unit, re.M)
    assert [" ".join(read)] == passed
    assert set(re.findall(r"\bCHATMAIL_\w+", PAGE)) == set(read)


def test_each_user_whose_files_are_in_a_volume_has_a_number_of_its_own() -> None:
    numbers = dict(named((CONTAINER / "users.conf").read_text("utf-8")))
    ours = {name for name, _ in named(files()["usr/lib/sysusers.d/chatmail-milter.conf"])}
    assert set(numbers) == ours | OF_DEBIAN
    assert len(set(numbers.values())) == len(numbers)
    # Below those that systemd-sysusers gives, and above those of adduser.
    assert all(800 <= int(number) < 900 for number in numbers.values())


def test_the_image_has_what_each_role_installs() -> None:
    installed = set(re.findall(r"\b\w+_install\b", image.CONTAINERFILE.read_text("utf-8")))
    tasks = [
        path for path in (REPOSITORY / "ansible/roles").glob("*/tasks/*.yml") if "beside" not in path.parts
    ]
    tags = {
        tag for path in tasks for tag in re.findall(r"tags: (\w+_install)$", path.read_text("utf-8"), re.M)
    }
    assert tags == installed
