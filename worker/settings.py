"""Settings, read from ``FIREWALL_*`` variables by a function and passed to whoever needs them.

Nothing reads the environment when it is imported. The fields' descriptions are the single source of
``.env.example`` and of the table in docs/settings.md; ``make settings`` writes both.
"""

import os
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE
from worker.errors import SettingsError

PREFIX = "FIREWALL_"


class Settings(BaseSettings):
    """Everything an operator can choose."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", env_ignore_empty=True, frozen=True, populate_by_name=True
    )

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices(f"{PREFIX}REDIS_URL", "REDIS_URL"),
        description="Redis that holds the queues and the result topic. Also read from REDIS_URL.",
    )
    model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="Hugging Face model id, or a local directory with config.json, tokenizer.json and "
        "model.safetensors.",
    )
    revision: str | None = Field(
        default=None,
        description="40-hex commit of the model. Default: the revision the codebook or the project pins.",
    )
    codebook: Path | None = Field(
        default=None,
        description="Codebook file made by `alknet-firewall calibrate`. Default: the one shipped for the model.",
    )
    policies: Path | None = Field(
        default=None,
        description="TOML file of policies and tenants' limits (docs/policies.md), read when a worker starts and "
        "when it is told `reload_policies`. Default: the built-in policy, no limits.",
    )
    offline: bool = Field(
        default=False,
        validation_alias=AliasChoices(f"{PREFIX}OFFLINE", "HF_HUB_OFFLINE"),
        description="Never ask the model hub; use what lies on this machine. Also read from HF_HUB_OFFLINE.",
    )
    backend: Literal["auto", "torch", "onnx"] = Field(
        default="auto",
        description="What runs the model. onnx needs FIREWALL_EXPORT and no torch. auto: the fastest one that is "
        "installed and passes the golden self-test, by a short measurement at start; the log says which and why.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="Arithmetic of the model. bfloat16 is about twice as fast on processors that have it "
        "(AVX512-BF16, AMX, GPUs); int8 exists as an export only. auto: what measures fastest at start, among what "
        "the processor has and leaves the golden texts' p-values within tolerance.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the torch backend's blocks by torch.compile: half a minute or more at every start, and a "
        "C++ compiler. Meant for GPUs, not measured there; CPUs do better with a traced pass (docs/benchmarks.md).",
    )
    export: Path | None = Field(
        default=None,
        description="Directory made by `alknet-firewall export`, for the onnx backend. It holds graph, tokenizer and "
        "codebook: the model's own files are not needed.",
    )
    device: str = Field(default="cpu", description="Torch device: cpu, cuda, cuda:1.")
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of the model's arithmetic. 0: the cores this process may use.",
    )
    concurrency: int = Field(
        default=128,
        ge=1,
        le=1024,
        description="Jobs in flight per process. More fill larger batches and hold more memory; about twice "
        "the texts of a batch is enough.",
    )
    batch_tokens: int = Field(
        default=4096,
        ge=64,
        description="Padded tokens of one forward pass. More is better throughput up to the cache size, and a "
        "longer wait for the next interactive text.",
    )
    queue_tokens: int = Field(
        default=2_000_000,
        ge=1024,
        description="Tokens of interactive, and as many of bulk work, that may wait for the engine. Further jobs wait "
        "for room; interactive ones go back to Redis as overload after a minute.",
    )
    forward_timeout_s: float = Field(
        default=120.0,
        ge=0,
        description="Longest forward pass in seconds. A longer one counts as hung: the worker gives its jobs back and "
        "ends, and its supervisor starts a new one. 0: wait for ever.",
    )
    linger_ms: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="Milliseconds a batch below its budget waits for more while further jobs are being prepared. "
        "An idle engine never waits.",
    )
    bulk_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of batches that bulk work gets while interactive work is waiting, so that it never starves.",
    )
    queues: list[str] = Field(
        default=[QUEUE_INTERACTIVE, QUEUE_BULK],
        description="Queues to consume, as a JSON list.",
    )
    visibility_timeout_s: int = Field(
        default=300,
        ge=5,
        description="Seconds after which an unacknowledged job of a dead worker is given to another. A live worker "
        "renews what it holds, so that jobs may take longer. The shortest value among all workers on one Redis "
        "database wins.",
    )
    max_attempts: int = Field(
        default=5, ge=1, description="Starts of one job before it goes to the dead-letter stream."
    )
    dedupe_ttl_s: int = Field(
        default=86_400,
        ge=60,
        description="Seconds for which a published result id is remembered, so that a redelivery publishes nothing "
        "twice. Must exceed the longest outage a job may survive. About 120 bytes of Redis memory per result.",
    )
    results_maxlen: int = Field(default=1_000_000, ge=1, description="Entries kept in firewall:results (approximate).")
    alarms_maxlen: int = Field(default=1_000_000, ge=1, description="Entries kept in firewall:alarms (approximate).")
    dead_maxlen: int = Field(default=100_000, ge=1, description="Entries kept in firewall:dead (approximate).")
    drift_texts: int = Field(
        default=5000,
        ge=0,
        description="Texts whose p-values are held against the calibration at a time, per policy and worker process. "
        "Three such windows in a row that depart publish a drift event (docs/policies.md). Fewer texts see coarse "
        "drift sooner and miss a slight one. 0: no drift is looked for.",
    )
    evidence_excerpts: bool = Field(
        default=False,
        description="Put the text of evidence spans into results and alarms. Off: offsets only, because screened "
        "text is private.",
    )
    webhooks_file: Path | None = Field(
        default=None,
        description="TOML file of webhook endpoints that the webhooks worker adds or changes when it starts; see "
        "docs/webhooks.md.",
    )
    webhook_allow: list[str] = Field(
        default=[],
        description="Webhook receivers on networks that are otherwise refused, as a JSON list: host names, addresses, "
        "CIDR networks. Hosts and addresses listed here may also use http.",
    )
    webhook_proxy: SecretStr | None = Field(
        default=None,
        description="HTTP proxy that webhooks leave by. It then resolves the names, and must itself refuse inner "
        "addresses. Proxies of the environment are never used.",
    )
    webhook_timeout_s: float = Field(
        default=20.0,
        gt=0,
        le=60,
        description="Seconds a webhook request may take, from the name's resolution to the last byte.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Port on which the worker serves Prometheus metrics, on all interfaces: how consumer groups of the "
        "result topic keep up and, of a webhooks worker, its deliveries. Each worker of a machine needs its own; they "
        "tell the same, so that one is enough. 0: none.",
    )
    health_file: Path | None = Field(
        default=None,
        description="File touched every few seconds while the worker is ready; `alknet-firewall health` and the "
        "container's health check read its age.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level logged.")
    sentry_dsn: SecretStr | None = Field(
        default=None,
        description="Sentry project that gets errors, scrubbed of text and local variables. Default: off.",
    )

    @field_validator("redis_url")
    @classmethod
    def redis_url_is_one(cls, value: SecretStr) -> SecretStr:
        """Refuse what is no Redis URL, without quoting it: it may hold a password.

        Raises:
            ValueError: The scheme or the port is wrong.
        """
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.scheme in ("redis", "rediss", "unix") and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("not a Redis URL; write redis://HOST:PORT/DB, rediss:// for TLS, or unix://PATH")
        return value


def load_settings(**overrides: object) -> Settings:
    """Build the settings from the environment; ``overrides`` win.

    Raises:
        SettingsError: A variable has a value that does not fit; the message names it and what is allowed.
    """
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    )
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}: no such setting. See .env.example for the names.")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except UnreadableSetting:
        raise SettingsError(f"{PREFIX}QUEUES, {PREFIX}WEBHOOK_ALLOW: write lists as JSON. See .env.example.") from None
    except ValidationError as error:
        faults = "; ".join(
            f"{_variable(fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"{faults}. See .env.example for meanings and defaults.") from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name.isupper() else f"{PREFIX}{name.upper()}"


def env_example() -> str:
    """Render ``.env.example``: every variable, commented out, with its meaning and default."""
    lines = [
        "# Settings of alknet-firewall. Generated by `make settings`; edit worker/settings.py instead.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"# {field.description}")
        if get_args(field.annotation) and all(isinstance(a, str) for a in get_args(field.annotation)):
            lines.append(f"# One of: {', '.join(get_args(field.annotation))}.")
        lines += [f"#{PREFIX}{name.upper()}={_default_text(field.default)}", ""]
    return "\n".join(lines)


def settings_table() -> str:
    """Render docs/settings.md: the same words as ``.env.example``, as a table."""
    lines = [
        "# Settings",
        "",
        "Environment variables of all commands. Generated by `make settings`; edit worker/settings.py instead.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = _default_text(field.default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |")
    return "\n".join([*lines, ""])


def _default_text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, list):
        return "[" + ",".join(f'"{entry}"' for entry in default) + "]"
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    Path(".env.example").write_text(env_example(), encoding="utf-8")
    Path("docs/settings.md").write_text(settings_table(), encoding="utf-8")
