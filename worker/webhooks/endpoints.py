"""Endpoints and their secrets, in Redis. Secrets are returned once, when they are made, and never listed."""

import json
import secrets as randomness
import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, model_validator
from redis import Redis

from schemas.event import utc_now
from schemas.job import Name, Source
from schemas.signal import Severity, Signal
from schemas.webhook import MAX_DIGEST_ALARMS, WebhookFormat
from worker.errors import EndpointNotFound, InvalidEndpoint
from worker.topic.connection import redis_errors_explained
from worker.webhooks.schedule import PREFIX, Schedule
from worker.webhooks.signing import check_secret, new_secret

ENDPOINTS = f"{PREFIX}endpoints"
DISABLED = f"{PREFIX}disabled"
SECRETS = f"{PREFIX}secrets"

ROTATION_S = 86_400
"""Seconds for which the old secret goes on being valid after a rotation."""

EndpointId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class Endpoint(BaseModel):
    """Where alarms are delivered, which of them, and how fast. The Lua scripts read the same fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: EndpointId
    url: Annotated[str, Field(repr=False, description="May itself be a secret, as Slack's is.")]
    format: WebhookFormat = "cloudevents"
    signals: Annotated[list[Signal] | None, Field(min_length=1, description="Default: all.")] = None
    min_severity: Severity = "notice"
    sources: Annotated[list[Source] | None, Field(min_length=1, description="Default: all.")] = None
    tenants: Annotated[list[Name] | None, Field(min_length=1, description="Default: all, and alarms without.")] = None
    digest_s: Annotated[int | None, Field(ge=1, le=86_400, description="At most one request in so many seconds.")] = (
        None
    )
    digest_max: Annotated[int, Field(ge=1, le=MAX_DIGEST_ALARMS, description="Alarms in one digest.")] = 50
    rate: Annotated[float | None, Field(gt=0, le=1000, description="Requests a second at most.")] = None
    parallel: Annotated[int, Field(ge=1, le=64, description="Requests at the same time at most.")] = 4
    backlog: Annotated[
        int, Field(ge=1, description="Alarms that may wait; further ones go to the dead-letter list.")
    ] = 100_000
    description: Annotated[str, StringConstraints(max_length=200)] = ""
    created: str = Field(default_factory=utc_now)

    @model_validator(mode="after")
    def options_fit_together(self) -> "Endpoint":
        """Refuse a rate beside a digest, which is one.

        Raises:
            ValueError: Both are given.
        """
        if self.digest_s is not None and self.rate is not None:
            raise ValueError("give digest_s or rate, not both")
        return self

    @property
    def shown_url(self) -> str:
        """The URL as lists and logs may show it: scheme and host. Path and query may be credentials."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/…"


class Keys(BaseModel):
    """What is secret of an endpoint.

    Attributes:
        signing: Secrets and the times (seconds since the epoch) they end at; None for the current one.
        routing_key: PagerDuty's integration key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    signing: tuple[tuple[SecretStr, float | None], ...]
    routing_key: SecretStr | None = None

    def valid(self, now: float | None = None) -> list[str]:
        """Return the signing secrets that are valid, the current one first."""
        moment = time.time() if now is None else now
        return [secret.get_secret_value() for secret, ends in self.signing if ends is None or ends > moment]

    def stored(self) -> str:
        """Return JSON for Redis, the one place that has secrets in the clear."""
        return json.dumps(
            {
                "signing": [(secret.get_secret_value(), ends) for secret, ends in self.signing],
                "routing_key": self.routing_key.get_secret_value() if self.routing_key else None,
            }
        )


def endpoint_of(fields: Mapping[str, Any]) -> Endpoint:
    """Return an endpoint with these fields, and a random id if none is given.

    Raises:
        InvalidEndpoint: A field is wrong; the message names it and does not quote the URL.
    """
    try:
        return Endpoint.model_validate({"id": f"ep-{randomness.token_hex(4)}", **fields})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'endpoint'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidEndpoint(faults) from None


class EndpointStore:
    """Adds, changes and removes endpoints. The URL's check against the egress guard is the caller's."""

    def __init__(self, redis: "Redis", schedule: Schedule | None = None):
        self.redis = redis
        self.schedule = schedule or Schedule(redis)

    def add(self, endpoint: Endpoint, *, secret: str | None = None, routing_key: str | None = None) -> str:
        """Keep a new endpoint and return its signing secret, which is not shown again.

        Args:
            endpoint: The endpoint.
            secret: One that the receiver already has; by default a fresh one.
            routing_key: Needed for, and only for, the format ``pagerduty``.

        Raises:
            InvalidEndpoint: There is an endpoint of that id, or a secret is missing or wrong.
        """
        if (endpoint.format == "pagerduty") != bool(routing_key):
            raise InvalidEndpoint("the format pagerduty needs a routing key, and no other format takes one")
        signing = check_secret(secret) if secret else new_secret()
        keys = Keys(signing=((SecretStr(signing), None),), routing_key=SecretStr(routing_key) if routing_key else None)
        with redis_errors_explained(self.redis):
            # Keys first: an endpoint that alarms can reach can also be signed for.
            if self.redis.hexists(ENDPOINTS, endpoint.id):
                raise InvalidEndpoint(f"there is an endpoint {endpoint.id}; remove it or choose another --id")
            self.redis.hset(SECRETS, endpoint.id, keys.stored())
            self.redis.hset(ENDPOINTS, endpoint.id, endpoint.model_dump_json(exclude_none=True))
        return signing

    def change(self, endpoint: Endpoint) -> None:
        """Replace the configuration of an endpoint; its secrets and what waits for it stay."""
        self.get(endpoint.id)
        with redis_errors_explained(self.redis):
            self.redis.hset(ENDPOINTS, endpoint.id, endpoint.model_dump_json(exclude_none=True))
        self.schedule.refresh(endpoint.id)

    def find(self, endpoint_id: str) -> Endpoint | None:
        """Return an endpoint, or None."""
        with redis_errors_explained(self.redis):
            raw = self.redis.hget(ENDPOINTS, endpoint_id)
        return None if raw is None else endpoint_of(json.loads(str(raw)))

    def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            EndpointNotFound: There is none of that id.
        """
        endpoint = self.find(endpoint_id)
        if endpoint is None:
            raise EndpointNotFound(f"no endpoint {endpoint_id!r}; `alknet-firewall webhooks list` shows what there is")
        return endpoint

    def all(self) -> list[Endpoint]:
        """Return all endpoints by id."""
        with redis_errors_explained(self.redis):
            raw: dict[str, str] = self.redis.hgetall(ENDPOINTS)  # type: ignore[assignment]
        return [endpoint_of(json.loads(raw[name])) for name in sorted(raw)]

    def keys(self, endpoint_id: str) -> Keys:
        """Return an endpoint's secrets, for signing.

        Raises:
            EndpointNotFound: There are none.
        """
        with redis_errors_explained(self.redis):
            raw = self.redis.hget(SECRETS, endpoint_id)
        if raw is None:
            raise EndpointNotFound(f"no secrets of endpoint {endpoint_id!r}")
        return Keys.model_validate_json(str(raw))

    def rotate(self, endpoint_id: str, *, grace_s: float = ROTATION_S) -> str:
        """Make a new signing secret and return it; the one before stays valid for ``grace_s`` seconds."""
        self.get(endpoint_id)
        keys, secret = self.keys(endpoint_id), new_secret()
        old = keys.signing[0][0]
        signing = ((SecretStr(secret), None), *([(old, time.time() + grace_s)] if grace_s > 0 else []))
        with redis_errors_explained(self.redis):
            self.redis.hset(SECRETS, endpoint_id, keys.model_copy(update={"signing": signing}).stored())
        return secret

    def disabled(self) -> dict[str, str]:
        """Return the reasons of disabled endpoints by id."""
        with redis_errors_explained(self.redis):
            found: dict[str, str] = self.redis.hgetall(DISABLED)  # type: ignore[assignment]
        return found

    def disable(self, endpoint_id: str, reason: str) -> None:
        """Stop delivering, and stop making deliveries; what waits is kept."""
        self.get(endpoint_id)
        with redis_errors_explained(self.redis):
            self.redis.hset(DISABLED, endpoint_id, reason)
        self.schedule.refresh(endpoint_id)

    def enable(self, endpoint_id: str) -> None:
        """Deliver again, at once: what waited, and what comes. Forgets past failures."""
        self.get(endpoint_id)
        with redis_errors_explained(self.redis):
            self.redis.hdel(DISABLED, endpoint_id)
            self.redis.hdel(f"{PREFIX}state:{endpoint_id}", "hold", "failures")
        self.schedule.refresh(endpoint_id)

    def remove(self, endpoint_id: str) -> None:
        """Delete an endpoint, its secrets and everything that waits for it."""
        self.get(endpoint_id)
        with redis_errors_explained(self.redis):
            # In this order no alarm can be scheduled for what is half removed.
            self.redis.hdel(ENDPOINTS, endpoint_id)
            self.redis.hdel(SECRETS, endpoint_id)
            self.redis.hdel(DISABLED, endpoint_id)
        self.schedule.purge(endpoint_id)
        self.schedule.refresh(endpoint_id)
