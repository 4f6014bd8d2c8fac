"""An earlier version with accounts, mail and a queue, and this one deployed over it while mail flows.

`make test-upgrade` prepares (`__main__.py`, which needs the network) and then runs the tests, which need
none. CONTRIBUTING.md says how to choose another version.
"""

import os

# Where CHANGELOG's "Do this when you upgrade" begins: no Debian package (a virtual environment in /opt, units
# in /etc), no mail on 443 and no coturn, and the schema of its store is 1.
DEFAULT = "48ccf9aa"

FROM = os.environ.get("FROM") or DEFAULT
