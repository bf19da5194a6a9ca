"""What ``celery inspect`` may ask a worker."""

import subprocess
import sys


def test_celerys_command_line_knows_the_commands() -> None:
    code = (
        "import tasks.app; tasks.app.app; from celery.worker.control import Panel; "
        "print(*(name for name, info in Panel.meta.items() if info.type in ('inspect', 'control')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"engine_stats", "topic_lag", "drift", "reload_policies"} <= set(run.stdout.split())
