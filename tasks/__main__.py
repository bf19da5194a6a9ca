"""``python -m tasks``: the command line without its console script."""

from tasks.cli.main import run

run()
