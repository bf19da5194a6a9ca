"""What Celery's remote control may ask and tell a worker."""

import subprocess
import sys


def test_celerys_command_line_knows_the_commands() -> None:
    code = (
        "import tasks.app; tasks.app.app; from celery.worker.control import Panel; "
        "print(*(name for name, info in Panel.meta.items() if info.type in ('inspect', 'control')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"engine_stats", "topic_lag", "drift", "reload_policies"} <= set(run.stdout.split())


def test_the_parent_of_a_prefork_pool_says_that_it_cannot_reload() -> None:
    code = "from tasks.control import reload_policies; print(reload_policies(None)['error'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "restart the workers" in run.stdout
