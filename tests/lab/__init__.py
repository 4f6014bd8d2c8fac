"""Real Debian hosts on this machine, and the playbook that an operator uses deployed on them.

    from tests.lab import Lab
    lab = Lab()
    lab.up(print)
    lab.deploy(print)
    lab.host("a").run("postqueue -j")

By hand: `python -m tests.lab up`. No host of the lab reaches anything outside it.
"""

from tests.lab.errors import LabError
from tests.lab.lab import Lab

__all__ = ["Lab", "LabError"]
