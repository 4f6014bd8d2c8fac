"""What programs load before they fork, and what they do without."""

from __future__ import annotations

import gc
import subprocess
import sys

from chatmail_milter.processes.prefork import share_memory


def test_the_app_behind_nginx_does_without_the_store_s_library() -> None:
    # Half of its memory; only registration by token needs it.
    imports = "import mxdeliv_app.serving.gunicorn_conf, mxdeliv_app.web.app, sys"
    program = f"{imports}; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_is_there_before_a_fork_is_not_looked_at_by_the_garbage_collector() -> None:
    try:
        share_memory()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
