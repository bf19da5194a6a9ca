"""Sentry, switched on by FIREWALL_SENTRY_DSN, with everything removed that could hold screened text."""

from typing import Any

from worker.settings import Settings

_KEPT = ("event_id", "timestamp", "level", "platform", "logger", "release", "environment", "server_name",
         "sdk", "transaction", "fingerprint", "contexts", "modules", "type", "monitor_slug")  # fmt: skip
_KEPT_FRAME = ("filename", "abs_path", "function", "module", "lineno", "colno", "in_app")
_KEPT_CONTEXTS = ("runtime", "os", "device", "trace")


def init_sentry(settings: Settings, **options: Any) -> bool:
    """Start Sentry if a DSN is set.

    Args:
        settings: The settings.
        options: Further options of ``sentry_sdk.init``: integrations, or a transport for tests.

    Returns:
        Whether it was started.
    """
    if settings.sentry_dsn is None or not settings.sentry_dsn.get_secret_value():
        return False
    import sentry_sdk

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        traces_sample_rate=0.0,
        before_send=lambda event, _hint: scrub(event),
        before_send_transaction=lambda _event, _hint: None,
        **options,
    )
    return True


def scrub(event: Any) -> Any:
    """Keep where an error happened and of which type, and nothing that quotes data.

    An allow-list: message texts, request data, task arguments, variables and breadcrumbs are dropped. Our
    own errors' messages are kept, because they never contain screened text (see ``worker.errors``).
    """
    kept = {key: event[key] for key in _KEPT if key in event}
    kept["contexts"] = {name: context for name, context in event.get("contexts", {}).items() if name in _KEPT_CONTEXTS}
    values = event.get("exception", {}).get("values", [])
    kept["exception"] = {"values": [_scrub_exception(value) for value in values]}
    if "logentry" in event and str(event.get("logger", "")).startswith(("worker.", "tasks.")):
        # The template of our own log lines holds no data; its parameters may, and so may others' templates.
        kept["logentry"] = {"message": event["logentry"].get("message", "")}
    return kept


def _scrub_exception(value: dict[str, Any]) -> dict[str, Any]:
    frames = (value.get("stacktrace") or {}).get("frames", [])
    ours = str(value.get("module", "")) == "worker.errors"
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": value.get("value") if ours else "(removed)",
        "mechanism": {
            key: entry for key, entry in (value.get("mechanism") or {}).items() if key in ("type", "handled")
        },
        "stacktrace": {"frames": [{k: frame[k] for k in _KEPT_FRAME if k in frame} for frame in frames]},
    }
