"""The container's recipe, read as text: no docker engine is needed to see that it fits the project."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from worker.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"
LOCKS = [ROOT / "docker" / "requirements.lock", ROOT / "docker" / "build.lock"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile in order: name and argument, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8")).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(name.upper(), argument.strip()) for name, _, argument in (line.partition(" ") for line in lines)]


def arguments(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [argument for step, argument in steps if step == name]


def final_stage(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    return steps[last:]


def variables(steps: list[tuple[str, str]]) -> dict[str, str]:
    """Return what ENV sets."""
    return dict(
        pair.partition("=")[::2] for argument in arguments(steps, "ENV") for pair in argument.split() if "=" in pair
    )


def test_compose_starts_redis_and_a_worker_after_it(services: dict[str, Any]) -> None:
    assert {"redis", "worker"} <= set(services)
    assert services["worker"]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert services["redis"]["healthcheck"]["test"]


def test_webhooks_have_a_worker_of_their_own(services: dict[str, Any]) -> None:
    webhooks, worker = services["webhooks"], services["worker"]
    assert webhooks["command"] == ["worker", "--queue", "webhooks"]
    same = ("build", "depends_on", "read_only", "cap_drop", "security_opt")
    assert [webhooks[name] for name in same] == [worker[name] for name in same]


def test_redis_keeps_jobs_over_a_restart_and_evicts_none(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    told = command if isinstance(command, str) else " ".join(command)
    assert "--appendonly yes" in told
    if "--maxmemory " in told:
        assert "--maxmemory-policy noeviction" in told
    assert any(str(volume).endswith(":/data") for volume in services["redis"]["volumes"])


def test_redis_is_not_open_to_the_world(services: dict[str, Any]) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in services["redis"].get("ports", []))


def test_the_worker_reads_the_redis_of_the_same_file(services: dict[str, Any]) -> None:
    environment = services["worker"]["environment"]
    pairs = environment if isinstance(environment, dict) else dict(e.split("=", 1) for e in environment)
    url = pairs.get("FIREWALL_REDIS_URL") or pairs["REDIS_URL"]
    assert "//redis:6379" in url or "@redis:6379" in url


def test_the_worker_is_built_from_the_dockerfile(services: dict[str, Any]) -> None:
    build = services["worker"]["build"]
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).resolve() == DOCKERFILE


def test_the_worker_has_a_health_check(services: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    found = [str(services["worker"].get("healthcheck", {}).get("test", "")), *arguments(steps, "HEALTHCHECK")]
    assert any("alknet-firewall" in check and "health" in check for check in found)
    assert "FIREWALL_HEALTH_FILE" in variables(final_stage(steps))


def test_the_worker_may_finish_its_jobs_before_it_is_killed(services: dict[str, Any]) -> None:
    seconds = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", services["worker"]["stop_grace_period"])
    assert seconds
    assert 60 * int(seconds[1] or 0) + int(seconds[2] or 0) >= 30


def test_the_worker_can_change_nothing_but_its_scratch_space(
    services: dict[str, Any], steps: list[tuple[str, str]]
) -> None:
    worker = services["worker"]
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert any("no-new-privileges" in option for option in worker["security_opt"])
    scratch = [str(entry).split(":")[0] for entry in worker["tmpfs"]]
    health = Path(variables(final_stage(steps))["FIREWALL_HEALTH_FILE"])
    assert any(health.is_relative_to(place) for place in scratch)


def test_the_worker_does_not_run_as_root(services: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    user = str(services["worker"].get("user") or arguments(final_stage(steps), "USER")[-1]).split(":")[0]
    assert user not in ("root", "0")


def test_pip_installs_what_is_locked_by_its_hash(steps: list[tuple[str, str]]) -> None:
    """All but torch, whose build is the builder's choice, and our own wheel."""
    installs = [line.split("install", 1)[1] for line in arguments(steps, "RUN") if "pip install" in line]
    free = [line for line in installs if "--require-hashes" not in line]
    assert len(installs) - len(free) == len(LOCKS)
    assert [line.split(" && ")[0].split()[-1] for line in free] == ['"$TORCH"', "/wheels/alknet_firewall-*.whl"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_has_a_version_and_hashes_for_everything_and_names_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[A-Za-z])", text)
    assert entries[0] == ""
    for entry in entries[1:]:
        assert re.match(r"[a-z0-9-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+(    #.*\n)*\Z", entry), entry
    assert not re.search(r"(?i)https?:|file:|index-url|find-links|trusted-host|nvidia|cuda", text)


def test_the_lock_files_hold_what_the_project_needs(project: dict[str, Any]) -> None:
    """Versions of the lock, and all that the image's extras name; `make lock` writes them anew."""
    locked = {
        name: version
        for lock in LOCKS
        for name, version in re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock.read_text(encoding="utf-8"))
    }
    extras = project["optional-dependencies"]
    needed = [Requirement(line) for line in [*project["dependencies"], *extras["torch"], *extras["embedded"]]]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in [*needed, *map(Requirement, build)]:
        if requirement.name != "torch":
            assert requirement.specifier.contains(locked[requirement.name]), requirement


def test_what_is_copied_is_there(steps: list[tuple[str, str]]) -> None:
    copied = [
        source
        for argument in arguments(steps, "COPY")
        if not argument.startswith("--from")
        for source in argument.split()[:-1]
    ]
    assert {"pyproject.toml", "schemas", "worker", "tasks"} <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_image_runs_a_python_that_the_project_allows(steps: list[tuple[str, str]], project: dict[str, Any]) -> None:
    least = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    minors = [int(minor) for minor in re.findall(r"python:3\.(\d+)", " ".join(arguments(steps, "FROM")))]
    assert least
    assert minors
    assert min(minors) >= int(least[1])


def test_the_image_starts_the_worker_with_the_console_script(
    steps: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    (entry,) = arguments(final_stage(steps), "ENTRYPOINT")
    (command,) = arguments(final_stage(steps), "CMD")
    assert json.loads(entry)[0] in project["scripts"]
    assert [*json.loads(entry)[1:], *json.loads(command)] == ["worker"]


def test_every_setting_of_the_image_exists(services: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    environment = services["worker"].get("environment", {})
    given = {*variables(steps), *(environment if isinstance(environment, dict) else {})}
    ours = {name.removeprefix("FIREWALL_").lower() for name in given if name.startswith("FIREWALL_")}
    assert ours
    assert ours <= set(Settings.model_fields)
