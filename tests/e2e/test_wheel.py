"""What is installed is what the worker needs, and no more."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_BYTES = 5_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_three_packages_and_nothing_else(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"schemas", "worker", "tasks"}


@pytest.mark.parametrize(
    "needed",
    [
        "worker/topic/publish.lua",
        "worker/webhooks/messages.lua",
        "worker/webhooks/schedule.lua",
        "worker/webhooks/deliver.lua",
        "worker/codebook/data/all-MiniLM-L6-v2.safetensors",
        "schemas/job.py",
        "tasks/app.py",
        "tasks/cli/main.py",
    ],
)
def test_the_wheel_holds_what_a_worker_reads(names: list[str], needed: str) -> None:
    assert needed in names


def test_every_module_of_the_checkout_is_in_the_wheel(names: list[str]) -> None:
    modules = [path for top in ("schemas", "worker", "tasks") for path in (ROOT / top).rglob("*.py")]
    assert modules
    assert {str(path.relative_to(ROOT)) for path in modules} <= set(names)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_BYTES


def test_the_wheel_brings_command_and_licence(wheel: Path, names: list[str]) -> None:
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    with zipfile.ZipFile(wheel) as archive:
        assert "alknet-firewall = tasks.cli.main:run" in archive.read(entry_points).decode()
    assert any(name.endswith("LICENSE") for name in names)
