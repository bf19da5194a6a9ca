"""The policy file: what it means, and that nothing wrong in it starts a worker."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.screening.policy import DEFAULT_BUDGETS, Policy
from worker.screening.policy_file import Rules, load_rules


def rules(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "policies.toml"
    path.write_text(text, encoding="utf-8")
    return load_rules(path)


def test_without_a_file_there_is_the_built_in_policy() -> None:
    found = load_rules(None)
    assert found.policies == {"default": Policy()}
    assert found.tenant("acme").items_per_day is None


def test_what_is_left_out_is_as_in_the_built_in_policy(tmp_path: Path) -> None:
    found = rules(tmp_path, '[policies.strict]\nbudgets = { notice = 0.05 }\nalarms = ["critical"]\nshadow = true\n')
    assert found.policies["default"] == Policy()
    strict = found.policies["strict"]
    assert strict.signals == Policy().signals
    assert strict.budgets == {**DEFAULT_BUDGETS, "notice": 0.05}
    assert (strict.alarms, strict.shadow) == (("critical",), True)


def test_tenants(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        '[policies.strict]\n[tenants.acme]\nitems_per_minute = 10\npolicies = ["strict"]\n'
        '[tenants."*"]\nitems_per_day = 5\n',
    )
    assert found.tenant("acme").may_use("strict")
    assert not found.tenant("acme").may_use("default")
    assert (found.tenant("acme").items_per_day, found.tenant("beta").items_per_day) == (None, 5)
    assert found.tenant(None).items_per_day is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[policies", "is not TOML"),
        ("[polices.x]", "polices: is not a field"),
        ("[policies.x]\nsignal = []", "policies.x.signal: is not a field"),
        ('[policies.x]\nsignals = ["jailbrake"]', "policies.x.signals.0"),
        ("[policies.x]\nsignals = []", "policies.x.signals"),
        ('[policies.x]\nsignals = ["jailbreak", "jailbreak"]', "policies.x.signals: names something twice"),
        ("[policies.x]\nbudgets = { notice = 1.5 }", "policies.x.budgets.notice"),
        ("[policies.x]\nbudgets = { notice = nan }", "policies.x.budgets.notice"),
        ("[policies.x]\nbudgets = { warning = 0.02 }", "policies.x: budgets must descend from notice over warning"),
        ('[policies.x]\nalarms = ["doom"]', "policies.x.alarms.0"),
        ('[policies."a b"]', "policies.a b"),
        ("[policies.x]\nshadow = 1", "policies.x.shadow"),
        ("[tenants.a]\nitems_per_minute = 0", "tenants.a.items_per_minute"),
        ('[tenants.a]\npolicies = ["strict"]', "tenants.a.policies names strict; there are default"),
        ("[tenants.a]\nitems_per_hour = 1", "tenants.a.items_per_hour: is not a field"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rules(tmp_path, text)
    assert says in caught.value.message
    assert "policies.toml" in caught.value.message


def test_the_documented_file(tmp_path: Path) -> None:
    [block] = re.findall(r"```toml\n(.*?)```", Path("docs/policies.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    found = rules(tmp_path, block)
    assert found.policies["default"] == Policy(), "the built-in policy is documented as it is"
    assert set(found.policies) == {"default", "tools", "trial"}


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 1_000_001, b"a=" + b"[" * 100_000])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "policies.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError):
        load_rules(path)


def test_a_pipe_or_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(SettingsError, match="no regular file"):
            load_rules(path)


DOCUMENTED = re.findall(r"```toml\n(.*?)```", Path("docs/policies.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
LINES = st.sampled_from(
    [
        *DOCUMENTED.splitlines(),
        *("[policies.__proto__]", "[policies.'../../etc']", '[tenants."\\u0000"]', "[[policies]]", "policies = 1"),
        *("budgets = { notice = 1e-320 }", "budgets = { critical = 0 }", "signals = [[]]", "shadow = 1979-05-27"),
        *(
            "items_per_day = 99999999999999999999999",
            "items_per_day = -0",
            "items_per_minute = 1.5",
            "a.b.c = [{}, {}]",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=12).map("\n".join).map(str.encode) | st.binary(max_size=200))
def test_whatever_the_file_holds_it_means_something_or_is_refused(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    try:
        found = load_rules(place)
    except SettingsError as error:
        assert str(place) in error.message  # noqa: PT017 - either outcome is right
        return
    assert "default" in found.policies
    for policy in found.policies.values():
        assert 0 < policy.budgets["critical"] < policy.budgets["warning"] < policy.budgets["notice"] < 1


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a fuzzer's file lies."""
    return tmp_path_factory.mktemp("policies") / "policies.toml"
