"""Every error the worker raises on purpose.

::

    FirewallError
    ├── InputError            the producer's input; becomes an error result
    │   ├── UnreadableMessage ├── EmptyText          ├── DuplicateItemId
    │   ├── NotAJob           ├── TextTooLong        ├── JobTooLarge
    │   ├── InvalidField      ├── TextContainsNul    ├── TooManyItems
    │   ├── UnknownField      ├── InvalidUnicode     ├── NoTokens
    │   ├── UnknownPolicy     ├── TooManyTokens      ├── NotReplayable
    │   ├── UnreadableInput   ├── RunConflict        ├── NoVerdict
    │   ├── RateLimited       ├── QuotaExceeded      ├── PolicyNotAllowed
    │   └── UnsupportedVersion
    ├── ModelError            the model's files; the worker does not start
    │   ├── ModelNotFound     ├── UnsafeWeights      └── UnsupportedModel
    │   ├── WeightsMismatch   └── ExportInvalid
    ├── MissingExtra          a library that an extra installs
    ├── CodebookError         the codebook's file; the worker does not start
    │   ├── CodebookNotFound  ├── CodebookInvalid    └── GoldenDrift
    │   └── CodebookMismatch
    ├── EngineError           the engine while it runs
    │   ├── Overloaded        ├── ForwardFailed      └── EngineStopped
    ├── WebhookError          a webhook endpoint and what is asked of it
    │   ├── InvalidEndpoint   ├── EndpointNotFound   └── EgressRefused
    ├── TopicError            Redis did not take the results
    ├── AttemptsExhausted     the job was started too often without an end
    ├── JobIdReused           another text has a verdict under this job and item id
    ├── Expired               the job's ``expires`` had passed before it was started
    ├── ServiceError          a service the command line needs is not there
    ├── RunCancelled          somebody cancelled the bulk run
    └── SettingsError         a FIREWALL_ variable has a wrong value

``code`` is stable and goes over the wire. ``retryable`` says whether the very same input may succeed
later. Messages name the field, the limit and the remedy; **they never contain screened text**.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.result import ErrorInfo


class FirewallError(Exception):
    """Base of all errors raised on purpose."""

    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field

    def info(self) -> "ErrorInfo":
        """Return the error as it goes over the wire."""
        from schemas.result import ErrorInfo  # the command line starts without pydantic

        return ErrorInfo(code=self.code, message=self.message, retryable=self.retryable, field=self.field)


class InputError(FirewallError):
    """The producer's input cannot be screened. Submitting it again unchanged fails again."""

    code = "invalid_input"


class UnreadableMessage(InputError):
    """The broker's message is no task call that this worker has; it is in the dead-letter stream."""

    code = "unreadable_message"


class NotAJob(InputError):
    """The message is no job at all: not an object, or without readable items."""

    code = "not_a_job"


class InvalidField(InputError):
    """A field has the wrong type or value."""

    code = "invalid_field"


class UnknownField(InputError):
    """A field that the contract does not name; most often a misspelling."""

    code = "unknown_field"


class UnsupportedVersion(InputError):
    """The job is of a newer contract than this worker's; it is kept in the dead-letter stream."""

    code = "unsupported_version"


class UnknownPolicy(InputError):
    """The job names a policy that this worker does not have."""

    code = "unknown_policy"


class PolicyNotAllowed(InputError):
    """The job names a policy that its tenant may not use."""

    code = "policy_not_allowed"


class RateLimited(InputError):
    """The tenant has had its items of this minute."""

    code = "rate_limited"
    retryable = True


class QuotaExceeded(InputError):
    """The tenant has had its items of this day."""

    code = "quota_exceeded"
    retryable = True


class EmptyText(InputError):
    """The text is empty or only white space."""

    code = "empty_text"


class TextTooLong(InputError):
    """The text has more characters than one item may have."""

    code = "text_too_long"


class TextContainsNul(InputError):
    """The text contains U+0000, which tokenizers drop silently and attackers use to split words."""

    code = "text_contains_nul"


class InvalidUnicode(InputError):
    """The text contains lone surrogates and cannot be written as UTF-8."""

    code = "invalid_unicode"


class NoTokens(InputError):
    """The model's tokenizer leaves nothing of the text, so there is nothing to look at."""

    code = "no_tokens"


class DuplicateItemId(InputError):
    """Two items of one job have the same id, so a verdict for that id would be ambiguous."""

    code = "duplicate_item_id"


class TooManyItems(InputError):
    """The job has more items than a job may have."""

    code = "too_many_items"


class JobTooLarge(InputError):
    """The texts of the job are together larger than a job may be."""

    code = "job_too_large"


class TooManyTokens(InputError):
    """The text is within its characters but has more tokens than one item may cost."""

    code = "too_many_tokens"


class NotReplayable(InputError):
    """The dead letter holds no job that could be sent again."""

    code = "not_replayable"


class NoVerdict(InputError):
    """A row of a bulk run was sent several times and never answered."""

    code = "no_verdict"
    retryable = True


class UnreadableInput(InputError):
    """An input of a bulk run cannot be read: not there, damaged, or without the text column."""

    code = "unreadable_input"


class RunConflict(InputError):
    """A bulk run cannot begin or go on with what is there: another run's files, other options, other input."""

    code = "run_conflict"


class RunCancelled(FirewallError):
    """Somebody cancelled the bulk run."""

    code = "run_cancelled"


class ModelError(FirewallError):
    """The model's files are missing or not what they should be."""

    code = "model_error"


class ModelNotFound(ModelError):
    """No source had the model."""

    code = "model_not_found"


class UnsafeWeights(ModelError):
    """The model comes without safetensors. Pickled weights run code when loaded, so they never are."""

    code = "unsafe_weights"


class WeightsMismatch(ModelError):
    """The weights are not the ones that were pinned."""

    code = "weights_mismatch"


class UnsupportedModel(ModelError):
    """The architecture does not look like a stack of transformer blocks."""

    code = "unsupported_model"


class ExportInvalid(ModelError):
    """An exported directory is incomplete or damaged, or its parts do not belong together."""

    code = "export_invalid"


class MissingExtra(FirewallError):
    """A library is not installed; the message names the extra that brings it."""

    code = "missing_extra"


class CodebookError(FirewallError):
    """The codebook cannot be used."""

    code = "codebook_error"


class CodebookNotFound(CodebookError):
    """There is no codebook for the model."""

    code = "codebook_not_found"


class CodebookInvalid(CodebookError):
    """The file is not a codebook, is damaged, or has a format this version does not read."""

    code = "codebook_invalid"


class CodebookMismatch(CodebookError):
    """The codebook was calibrated on another model, tokenizer or weights."""

    code = "codebook_mismatch"


class GoldenDrift(CodebookError):
    """The golden texts score otherwise on this machine than where they were calibrated."""

    code = "golden_drift"


class EngineError(FirewallError):
    """The engine could not score a text."""

    code = "engine_error"


class Overloaded(EngineError):
    """More is waiting than the queue may hold. The message stays queued and is retried."""

    code = "overloaded"
    retryable = True


class ForwardFailed(EngineError):
    """The model's forward pass failed on this text alone, after its batch was bisected."""

    code = "forward_failed"


class EngineStopped(EngineError):
    """The engine is shutting down; another worker will take the job."""

    code = "engine_stopped"
    retryable = True


class TopicError(FirewallError):
    """Redis did not take the results; the job is not acknowledged and comes back."""

    code = "publish_failed"
    retryable = True


class WebhookError(FirewallError):
    """A webhook endpoint cannot be used as asked."""

    code = "webhook_error"


class InvalidEndpoint(WebhookError):
    """The endpoint's URL, filter or other field is not usable."""

    code = "invalid_endpoint"


class EndpointNotFound(WebhookError):
    """No endpoint has that id."""

    code = "endpoint_not_found"


class EgressRefused(WebhookError):
    """The URL leads to an address that deliveries must not go to."""

    code = "egress_refused"


class AttemptsExhausted(FirewallError):
    """The job was started N times and never finished; it is in the dead-letter stream."""

    code = "attempts_exhausted"


class JobIdReused(FirewallError):
    """The job and item id stand for another text that has been screened. Use a fresh job id."""

    code = "job_id_reused"


class Expired(FirewallError):
    """The job was not started before its ``expires``; nothing was computed."""

    code = "expired"
    retryable = True


class ServiceError(FirewallError):
    """A service that a command needs cannot be reached or started."""

    code = "service_unavailable"
    retryable = True


class SettingsError(FirewallError):
    """A setting has a wrong value."""

    code = "invalid_settings"
