"""A policy file in a real worker, and limits that hold in a real Redis."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support import ATTACK, HARMLESS, Producer, Topic, by_item, ready, started
from worker.screening.policy_file import TenantEntry
from worker.topic.limits import RedisTenantLimits

pytestmark = pytest.mark.integration

FILE = """
[policies.trial]
shadow = true
[policies.harm]
signals = ["harmful_request"]
[tenants.acme]
items_per_day = 3
"""


def test_a_worker_follows_the_file(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    file = logs / "policies.toml"
    file.write_text(FILE, encoding="utf-8")
    with ready(own_url, logs, environment={"FIREWALL_POLICIES": str(file)}):
        sent = {
            policy: own_producer.send(ATTACK, policy=policy).job_id for policy in ("default", "trial", "harm", "none")
        }
        found = {policy: own_topic.results(job_id, 1)[0]["data"] for policy, job_id in sent.items()}
        assert (found["default"]["verdict"], found["default"]["shadow"]) == ("flagged", False)
        assert (found["trial"]["verdict"], found["trial"]["shadow"]) == ("clean", True)
        assert found["trial"]["severity"] == found["default"]["severity"]
        assert found["harm"]["score"] != found["default"]["score"]
        assert found["none"]["error"]["code"] == "unknown_policy"
        assert own_topic.redis.xlen("firewall:alarms") == 1 + (found["harm"]["verdict"] == "flagged")
        jobs = [own_producer.send(HARMLESS, HARMLESS + " Really?", tenant="acme").job_id for _ in range(2)]
        codes = sorted(
            (data["error"] or {}).get("code", data["verdict"])
            for job_id in jobs
            for data in by_item(own_topic.results(job_id, 2)).values()
        )
        assert codes == ["clean", "clean", "quota_exceeded", "quota_exceeded"]


def test_the_file_is_read_anew_on_command(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    file = logs / "policies.toml"
    file.write_text(FILE, encoding="utf-8")

    def reload() -> dict[str, str]:
        ((_, answer),) = own_producer.app.control.broadcast("reload_policies", reply=True, timeout=5, limit=1)[
            0
        ].items()
        return dict(answer)

    def verdict(policy: str, **fields: str) -> object:
        result = own_topic.results(own_producer.send(ATTACK, policy=policy, **fields).job_id, 1)[0]["data"]
        return (result["error"] or {}).get("code", result["verdict"])

    with ready(own_url, logs, environment={"FIREWALL_POLICIES": str(file)}):
        assert (verdict("trial"), verdict("late")) == ("clean", "unknown_policy")
        file.write_text("[policies.late]\n[tenants.acme]\npolicies = ['late']\n", encoding="utf-8")
        assert reload() == {"ok": "policies: default, late"}
        assert (verdict("trial"), verdict("late")) == ("unknown_policy", "flagged")
        assert verdict("default", tenant="acme") == "policy_not_allowed"
        file.write_text("[policies.late]\nshadow = 3\n", encoding="utf-8")
        assert "policies.late.shadow" in reload()["error"]
        assert verdict("late") == "flagged"


def test_a_worker_does_not_start_with_a_faulty_file(own_url: str, logs: Path) -> None:
    file = logs / "policies.toml"
    file.write_text("[policies.default]\nbudgets = { notice = 2.0 }\n", encoding="utf-8")
    with started(own_url, logs, environment={"FIREWALL_POLICIES": str(file)}) as worker:
        assert worker.process.wait(60) == 78
        assert "policies.default.budgets.notice" in worker.log


def test_limits_are_exact_under_concurrency(own_redis: Redis) -> None:
    limits, tenant = RedisTenantLimits(own_redis), str(uuid.uuid4())
    with ThreadPoolExecutor(8) as pool:
        refused = list(
            pool.map(lambda job: limits.take(tenant, TenantEntry(items_per_day=100), 3, str(job)), range(60))
        )
    assert refused.count(None) == 33
    assert {error.code for error in refused if error is not None} == {"quota_exceeded"}
    assert limits.take(tenant, TenantEntry(items_per_day=100), 1, "60") is None, "what is left can still be had"


def test_the_minutes_limit_says_when_to_come_again(own_redis: Redis) -> None:
    limits, entry = RedisTenantLimits(own_redis), TenantEntry(items_per_minute=5)
    errors = [limits.take("t", entry, 6, "1"), limits.take("other", TenantEntry(), 1000, "2")]
    assert errors[0] is not None
    assert errors[0].code == "rate_limited"
    assert " s" in errors[0].message
    assert errors[1] is None
    assert all(0 < int(own_redis.ttl(key)) <= 172_800 for key in own_redis.keys("firewall:items:*"))


def test_a_job_that_is_delivered_again_counts_once(own_redis: Redis) -> None:
    limits, entry = RedisTenantLimits(own_redis), TenantEntry(items_per_day=5)
    assert [limits.take("again", entry, 3, "same") for _ in range(3)] == [None] * 3
    assert limits.take("again", entry, 2, "another") is None
    assert limits.take("again", entry, 1, "one too many") is not None
    assert limits.take("again", entry, 3, "same") is None, "what was let in stays let in"
    assert limits.take("again", entry, 4, "same") is not None, "another job under the id"
    assert limits.take("other", entry, 3, "same") is None
    assert int(own_redis.get(own_redis.keys("firewall:items:other:*")[0]) or 0) == 3
    assert all(3500 < int(own_redis.ttl(key)) <= 3600 for key in own_redis.keys("firewall:counted:*"))
