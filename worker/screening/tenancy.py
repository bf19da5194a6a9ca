"""What a tenant may do: which policies its jobs may name, and how many items it may have screened."""

from schemas.job import JobHeader
from worker.errors import FirewallError, PolicyNotAllowed
from worker.screening.policy_file import Rules
from worker.topic.limits import TenantLimits


class Tenancy:
    """The rules of the policy file, and the counts they are held against."""

    def __init__(self, rules: Rules, limits: TenantLimits):
        self.rules = rules
        self._limits = limits

    def refuse(self, header: JobHeader, items: int, task_id: str) -> FirewallError | None:
        """Count a job's items, or return why its tenant may not have them screened.

        Args:
            header: Of the job.
            items: That would be screened.
            task_id: The broker's id of the job.

        Raises:
            TopicError: Redis does not count; the job must be delivered again.
        """
        entry = self.rules.tenant(header.tenant)
        if not entry.may_use(header.policy):
            allowed = ", ".join(entry.policies or ())
            return PolicyNotAllowed(f"tenant {header.tenant} may not use policy {header.policy}; it may use {allowed}")
        return self._limits.take(header.tenant, entry, items, task_id) if header.tenant and items else None
