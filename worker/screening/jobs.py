"""Run one job from its raw argument to published results. Knows nothing of the queue it came from."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from schemas.dead_letter import DeadLetter
from schemas.job import JobHeader
from schemas.result import ItemResult, result_id
from worker.errors import AttemptsExhausted, Expired, FirewallError, NotAJob, UnsupportedVersion
from worker.screening.drift_watch import DriftWatch
from worker.screening.gate import Gate
from worker.screening.outcome import Outcome, alarm_of, blank, failure, publish, refusal
from worker.screening.policy_file import Rules
from worker.screening.screener import Finding, Screener
from worker.screening.tenancy import Tenancy
from worker.text.admission import Admission, Admitted, admit
from worker.topic.attempts import Attempt, Attempts
from worker.topic.publisher import Publisher

log = logging.getLogger(__name__)

MAX_PAYLOAD = 4_000_000
"""Characters of a payload kept in the dead-letter stream."""


@dataclass(frozen=True)
class Delivery:
    """How a job reached this process.

    Attributes:
        task_id: The broker's id of the message; the same on every redelivery.
        queue: Queue it came from.
        bulk: Yields to interactive work.
        expires: When the producer no longer wants the result.
    """

    task_id: str
    queue: str
    bulk: bool
    expires: datetime | None = None

    @property
    def expired(self) -> bool:
        """Whether it is too late, by this machine's clock."""
        return self.expires is not None and datetime.now(UTC) > self.expires


class JobRunner:
    """Screens jobs and publishes what they came to."""

    def __init__(
        self,
        screener: Screener,
        publisher: Publisher,
        attempts: Attempts,
        *,
        max_attempts: int = 5,
        excerpts: bool = False,
        tenancy: Tenancy | None = None,
        drift: DriftWatch | None = None,
    ):
        self._tenancy = tenancy
        self.screener = screener
        self.drift = drift
        self._publisher = publisher
        self._attempts = attempts
        self._max_attempts = max_attempts
        self._excerpts = excerpts
        self._gate = Gate()

    def use(self, rules: Rules) -> None:
        """Have jobs from now on follow other rules; a text in hand is judged by the old ones or the new."""
        self.screener.use(rules.policies)
        if self._tenancy is not None:
            self._tenancy.rules = rules
        if self.drift is not None:
            self.drift.begin_anew()

    def run(self, raw: object, delivery: Delivery) -> list[ItemResult]:
        """Screen a job and publish one result for every item, and one alarm for every flagged one.

        Returns only after Redis has the results, so that the caller may acknowledge the job.

        Args:
            raw: The task's argument, not validated.
            delivery: How it came.

        Raises:
            FirewallError: With ``retryable`` set; nothing is lost if the job is delivered again.
        """
        with self._gate.beside():
            attempt = self._attempts.start(delivery.task_id)
            if attempt.noted:
                return self._run(raw, delivery, attempt)
        log.warning("job runs alone, an earlier start of it came to no end task=%s", delivery.task_id)
        with self._gate.alone():
            return self._run(raw, delivery, self._attempts.start(delivery.task_id, again=True))

    def _run(self, raw: object, delivery: Delivery, attempt: Attempt) -> list[ItemResult]:
        start = time.perf_counter()
        try:
            if attempt.number > self._max_attempts:
                outcomes = self._give_up(raw, delivery, attempt)
            else:
                outcomes = self._outcomes(raw, delivery, attempt)
            outcomes, published = publish(self._publisher, raw, outcomes)
        except FirewallError as error:
            if error.retryable:
                self._attempts.refund(delivery.task_id, attempt)
            raise
        self._attempts.finish(delivery.task_id)
        log.info(
            "job done task=%s queue=%s items=%d published=%d alarms=%d attempt=%d seconds=%.3f",
            *(delivery.task_id, delivery.queue, len(outcomes), published),
            *(sum(alarm is not None for _, alarm in outcomes), attempt.number, time.perf_counter() - start),
        )
        results = [result for result, _ in outcomes]
        if self.drift and published:
            self.drift.note(results)
        return results

    def _outcomes(self, raw: object, delivery: Delivery, attempt: Attempt) -> list[Outcome]:
        try:
            admission = admit(raw, self.screener.policies)
        except NotAJob as error:
            return self._bury(raw, delivery, attempt, error)
        for newer in (refused.error for refused in admission.refused[:1]):
            if isinstance(newer, UnsupportedVersion):
                self._bury(raw, delivery, attempt, newer)  # for the worker that will understand it
        if delivery.expired:
            late = Expired("the job's expires had passed before a worker started it; send it again if it still matters")
            return self._in_order(admission, [late] * len(admission.admitted))
        if self._tenancy is not None:
            items = len(admission.admitted)
            refused = self._tenancy.refuse(admission.header, items, delivery.task_id)
            if refused is not None:
                return self._in_order(admission, [refused] * items)
        texts = [admitted.item.text for admitted in admission.admitted]
        findings: Sequence[Finding | FirewallError] = ()
        if texts:
            findings = self.screener.screen(texts, policy=admission.header.policy, bulk=delivery.bulk)
        return self._in_order(admission, findings)

    def _in_order(self, admission: Admission, findings: Sequence[Finding | FirewallError]) -> list[Outcome]:
        header = admission.header
        outcomes: list[tuple[int, Outcome]] = [
            (refused.index or 0, (refusal(header, refused), None)) for refused in admission.refused
        ]
        for admitted, finding in zip(admission.admitted, findings, strict=True):
            outcomes.append((admitted.index, self._outcome(header, admitted, finding)))
        return [outcome for _, outcome in sorted(outcomes, key=lambda entry: entry[0])]

    def _outcome(self, header: JobHeader, admitted: Admitted, finding: Finding | FirewallError) -> Outcome:
        if isinstance(finding, FirewallError):
            return failure(header, admitted, finding), None
        result = self._result(header, admitted, finding)
        return result, alarm_of(result, finding.leading) if finding.policy.raises_alarm(finding.severity) else None

    def _result(self, header: JobHeader, admitted: Admitted, finding: Finding) -> ItemResult:
        evidence = finding.evidence
        if self._excerpts:
            text = admitted.item.text
            evidence = [span.model_copy(update={"excerpt": text[span.start : span.end]}) for span in evidence]
        result = blank(header, admitted.item.id, admitted.index, "screened")
        result.metadata = header.metadata | admitted.item.metadata
        result.verdict = finding.policy.verdict(finding.severity)
        result.severity, result.shadow = finding.severity, finding.policy.shadow
        result.score = finding.statistic
        result.p_value = finding.p_value
        result.extrapolated = finding.extrapolated
        result.signals = finding.signals
        result.evidence = evidence
        result.characters = len(admitted.item.text)
        result.tokens = finding.tokens
        result.windows = finding.windows
        result.codebook = self.screener.codebook.fingerprint
        return result

    def _bury(self, raw: object, delivery: Delivery, attempt: Attempt, error: FirewallError) -> list[Outcome]:
        """Keep what is no job for a person to look at, and say so on the result topic."""
        payload = payload_text(raw)
        self._publisher.bury(
            DeadLetter(
                task_id=delivery.task_id,
                queue=delivery.queue,
                attempts=attempt.number,
                error=error.info(),
                history=list(attempt.starts),
                truncated=len(payload) > MAX_PAYLOAD,
                payload=payload[:MAX_PAYLOAD],
            )
        )
        result = ItemResult(
            result_id=result_id(delivery.task_id, None, None, failed=True),
            job_id=delivery.task_id,
            item_id=None,
            item_index=None,
            status="error",
            error=error.info(),
        )
        return [(result, None)]

    def _give_up(self, raw: object, delivery: Delivery, attempt: Attempt) -> list[Outcome]:
        error = AttemptsExhausted(
            f"the job was started {attempt.number - 1} times and never finished; it is in the dead-letter stream"
        )
        buried = self._bury(raw, delivery, replace(attempt, starts=attempt.starts[:-1]), error)
        try:
            admission = admit(raw, self.screener.policies)
        except NotAJob:
            return buried
        failed = [error] * len(admission.admitted)
        return self._in_order(admission, failed)


def payload_text(raw: object) -> str:
    """Return an argument as JSON text that can be stored, whatever it is: deep, huge, or not Unicode."""
    try:
        text = json.dumps(raw, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        text = "(cannot be written as JSON)"
    return text.encode("utf-8", "replace").decode()
