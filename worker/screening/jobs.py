"""Run one job from its raw argument to published results. Knows nothing of the queue it came from."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.job import JobHeader
from schemas.result import ItemResult, result_id
from schemas.signal import Signal
from worker.errors import AttemptsExhausted, FirewallError, NotAJob
from worker.screening.screener import Finding, Screener
from worker.screening.tenancy import Tenancy
from worker.text.admission import Admission, Admitted, Refused, admit
from worker.topic.attempts import Attempts
from worker.topic.publisher import Publisher

log = logging.getLogger(__name__)

Outcome = tuple[ItemResult, Alarm | None]

MAX_PAYLOAD = 4_000_000
"""Characters of a payload kept in the dead-letter stream."""


@dataclass(frozen=True)
class Delivery:
    """How a job reached this process.

    Attributes:
        task_id: The broker's id of the message; the same on every redelivery.
        queue: Queue it came from.
        bulk: Yields to interactive work.
    """

    task_id: str
    queue: str
    bulk: bool


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
    ):
        self._tenancy = tenancy
        self.screener = screener
        self._publisher = publisher
        self._attempts = attempts
        self._max_attempts = max_attempts
        self._excerpts = excerpts

    def run(self, raw: object, delivery: Delivery) -> list[ItemResult]:
        """Screen a job and publish one result for every item, and one alarm for every flagged one.

        Returns only after Redis has the results, so that the caller may acknowledge the job.

        Args:
            raw: The task's argument, not validated.
            delivery: How it came.

        Raises:
            FirewallError: With ``retryable`` set; nothing is lost if the job is delivered again.
        """
        start = time.perf_counter()
        attempt = self._attempts.start(delivery.task_id)
        try:
            if attempt > self._max_attempts:
                outcomes = self._give_up(raw, delivery, attempt)
            else:
                outcomes = self._outcomes(raw, delivery, attempt)
            published = self._publisher.publish(outcomes)
        except FirewallError as error:
            if error.retryable:
                self._attempts.refund(delivery.task_id)
            raise
        self._attempts.finish(delivery.task_id)
        log.info(
            "job done task=%s queue=%s items=%d published=%d alarms=%d attempt=%d seconds=%.3f",
            *(delivery.task_id, delivery.queue, len(outcomes), published),
            *(sum(alarm is not None for _, alarm in outcomes), attempt, time.perf_counter() - start),
        )
        return [result for result, _ in outcomes]

    def _outcomes(self, raw: object, delivery: Delivery, attempt: int) -> list[Outcome]:
        try:
            admission = admit(raw, self.screener.policies)
        except NotAJob as error:
            return self._bury(raw, delivery, attempt, error)
        refused = self._tenancy.refuse(admission.header, len(admission.admitted)) if self._tenancy else None
        if refused is not None:
            return self._in_order(admission, [refused] * len(admission.admitted))
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
        policy = self.screener.policy(header.policy)
        return result, alarm_of(result, finding.leading) if policy.raises_alarm(finding.severity) else None

    def _result(self, header: JobHeader, admitted: Admitted, finding: Finding) -> ItemResult:
        evidence = finding.evidence
        if self._excerpts:
            text = admitted.item.text
            evidence = [span.model_copy(update={"excerpt": text[span.start : span.end]}) for span in evidence]
        result = _blank(header, admitted.item.id, admitted.index, "screened")
        result.metadata = header.metadata | admitted.item.metadata
        policy = self.screener.policy(header.policy)
        result.verdict = policy.verdict(finding.severity)
        result.severity, result.shadow = finding.severity, policy.shadow
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

    def _bury(self, raw: object, delivery: Delivery, attempt: int, error: FirewallError) -> list[Outcome]:
        """Keep what is no job for a person to look at, and say so on the result topic."""
        self._publisher.bury(
            DeadLetter(
                task_id=delivery.task_id,
                queue=delivery.queue,
                attempts=attempt,
                error=error.info(),
                payload=payload_text(raw),
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

    def _give_up(self, raw: object, delivery: Delivery, attempt: int) -> list[Outcome]:
        error = AttemptsExhausted(
            f"the job was started {attempt - 1} times and never finished; it is in the dead-letter stream"
        )
        buried = self._bury(raw, delivery, attempt, error)
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
    return text.encode("utf-8", "replace").decode()[:MAX_PAYLOAD]


def refusal(header: JobHeader, refused: Refused) -> ItemResult:
    """Return the error result of an item that was not admitted."""
    result = _blank(header, refused.item_id, refused.index, "error", by_index=refused.ambiguous)
    result.error = refused.error.info()
    return result


def failure(header: JobHeader, admitted: Admitted, error: FirewallError) -> ItemResult:
    """Return the error result of an item that was admitted but could not be screened."""
    result = _blank(header, admitted.item.id, admitted.index, "error")
    result.metadata = header.metadata | admitted.item.metadata
    result.characters = len(admitted.item.text)
    result.error = error.info()
    return result


def alarm_of(result: ItemResult, leading: Signal) -> Alarm | None:
    """Return the alarm that a flagged result raises; ``leading`` is the signal it is named after."""
    if result.severity is None or result.p_value is None or result.item_id is None or result.codebook is None:
        return None
    return Alarm(
        alarm_id=result.result_id,
        job_id=result.job_id,
        item_id=result.item_id,
        tenant=result.tenant,
        source=result.source,
        metadata=result.metadata,
        severity=result.severity,
        signal=leading,
        p_value=result.p_value,
        extrapolated=result.extrapolated,
        signals=result.signals,
        evidence=result.evidence,
        policy=result.policy,
        codebook=result.codebook,
    )


def _blank(
    header: JobHeader,
    item_id: str | None,
    index: int | None,
    status: Literal["screened", "error"],
    *,
    by_index: bool = False,
) -> ItemResult:
    """Return a result that says whose it is, and nothing yet of what was found."""
    return ItemResult(
        result_id=result_id(
            header.job_id, item_id, index, by_index=by_index, tenant=header.tenant, failed=status == "error"
        ),
        job_id=header.job_id,
        item_id=item_id,
        item_index=index,
        tenant=header.tenant,
        source=header.source,
        policy=header.policy,
        metadata=header.metadata,
        status=status,
    )
