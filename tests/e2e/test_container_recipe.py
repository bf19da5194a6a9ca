"""The very steps of docker/Dockerfile, run in bare virtual environments: no Docker engine is needed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.demo.stack import end
from worker.observe.health import is_healthy
from worker.topic.server import running_redis

LOCKS = Path("docker").resolve()
RECIPE = Path("docker/Dockerfile").read_text(encoding="utf-8")


def instructions(stage: int) -> list[tuple[str, str]]:
    """Instructions of a stage, with continued lines joined and comments dropped."""
    body = re.split(r"^FROM .*$", RECIPE, flags=re.MULTILINE)[stage]
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*$", "", body, flags=re.MULTILINE))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def run_stage(stage: int, root: Path) -> dict[str, str]:
    """Run a stage's pip steps in a new virtual environment; return the environment its ENV lines make."""
    venv = root / f"venv{stage}"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    variables = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "HOME": str(root)}
    variables.pop("PYTHONPATH", None)
    for word, rest in instructions(stage):
        if word == "ARG" and "=" in rest:
            name, value = rest.split("=", 1)
            variables[name] = value.strip('"')
        elif word == "ENV":
            variables.update(pair.split("=", 1) for pair in rest.split())
        elif word == "RUN" and "pip" in rest:
            step = rest.replace("/wheels", str(root / "wheels")).replace("/locks/", f"{LOCKS}/")
            subprocess.run(step, shell=True, env=variables, check=True, timeout=600)
    return variables


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[dict[str, str]]:
    root = tmp_path_factory.mktemp("image")
    run_stage(1, root)
    return run_stage(2, root)


@pytest.mark.timeout(900)
def test_the_image_starts_a_worker_that_its_health_check_finds_ready(image, tmp_path):
    words = dict(instructions(2))
    assert words["USER"] == "10001"
    health = tmp_path / "health"
    with running_redis() as url:
        variables = {**image, "REDIS_URL": url, "FIREWALL_HEALTH_FILE": str(health)}
        command = ["alknet-firewall", "worker"]
        process = subprocess.Popen(command, env=variables, cwd=tmp_path)
        try:
            for _ in range(600):
                if is_healthy(health) or process.poll() is not None:
                    break
                subprocess.run(["sleep", "0.2"], check=True)
            checked = subprocess.run(["alknet-firewall", "health"], env=variables, cwd=tmp_path, check=False)
            assert checked.returncode == 0
            submitted = subprocess.run(
                ["alknet-firewall", "submit", "Good morning, is the office open today?", "--wait", "--json"],
                env=variables,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert '"status": "screened"' in submitted.stdout, submitted.stderr
        finally:
            end(process)
        assert process.returncode == 0
