"""The file of policies and tenants' limits: TOML, read once when a worker starts.

::

    [policies.default]                 # absent: the built-in one
    signals = ["instruction_override", "jailbreak", "prompt_extraction", "indirect_injection", "obfuscation"]
    budgets = { notice = 0.01, warning = 0.001, critical = 0.0001 }
    alarms = ["warning", "critical"]   # notices stay in the results
    shadow = false

    [tenants.acme]
    items_per_minute = 6000
    items_per_day = 1000000
    policies = ["default"]             # all, if left out

    [tenants."*"]                      # every tenant that is not named; each has limits of its own
    items_per_minute = 600
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.job import Name
from schemas.signal import SEVERITIES, Severity, Signal
from worker.bounded import read_bounded
from worker.errors import SettingsError
from worker.screening.policy import DEFAULT_BUDGETS, Policy

MAX_BYTES = 1_000_000
ANY_TENANT = "*"

Share = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Limit = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PolicyEntry(_Strict):
    """A policy as the file has it; what is left out is as in the built-in policy."""

    signals: Annotated[list[Signal], Field(min_length=1)] = Field(default_factory=lambda: list(Policy().signals))
    budgets: dict[Severity, Share] = Field(default_factory=dict)
    alarms: list[Severity] = Field(default_factory=lambda: list(SEVERITIES))
    shadow: bool = False

    @field_validator("signals", "alarms")
    @classmethod
    def no_value_twice(cls, value: list[str]) -> list[str]:
        """Refuse a list that names something twice.

        Raises:
            ValueError: It does.
        """
        if len(set(value)) < len(value):
            raise ValueError("names something twice")
        return value

    @model_validator(mode="after")
    def graver_is_rarer(self) -> "PolicyEntry":
        """Refuse budgets that do not descend.

        Raises:
            ValueError: A graver severity has as large a budget as a lighter one.
        """
        shares = [self.all_budgets()[severity] for severity in SEVERITIES]
        if sorted(set(shares), reverse=True) != shares:
            raise ValueError(f"budgets must descend from {' over '.join(SEVERITIES)}, and are {shares}")
        return self

    def all_budgets(self) -> dict[Severity, float]:
        """Return the budgets, those left out from the built-in policy."""
        return {**DEFAULT_BUDGETS, **self.budgets}


class TenantEntry(_Strict):
    """What a tenant may do.

    Attributes:
        items_per_minute: Items in one minute of the clock; None for no limit.
        items_per_day: Items in one day, UTC.
        policies: Policies its jobs may name; None for all.
    """

    items_per_minute: Limit | None = None
    items_per_day: Limit | None = None
    policies: Annotated[list[Name], Field(min_length=1)] | None = None

    def may_use(self, policy: str) -> bool:
        """Tell whether a job of the tenant may name the policy."""
        return self.policies is None or policy in self.policies


class _File(_Strict):
    policies: dict[Name, PolicyEntry] = Field(default_factory=dict)
    tenants: dict[str, TenantEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def tenants_name_policies_that_exist(self) -> "_File":
        known = {"default", *self.policies}
        for name, tenant in self.tenants.items():
            if strange := sorted(set(tenant.policies or ()) - known):
                raise ValueError(
                    f"tenants.{name}.policies names {', '.join(strange)}; there are {', '.join(sorted(known))}"
                )
        return self


@dataclass(frozen=True)
class Rules:
    """What the file says.

    Attributes:
        policies: By name; ``default`` is always there.
        tenants: By name, ``*`` for all others.
    """

    policies: dict[str, Policy] = field(default_factory=lambda: {"default": Policy()})
    tenants: dict[str, TenantEntry] = field(default_factory=dict)

    def tenant(self, name: str | None) -> TenantEntry:
        """Return what holds for a tenant; jobs without one are nobody's and have no limits."""
        if name is None:
            return TenantEntry()
        return self.tenants.get(name) or self.tenants.get(ANY_TENANT) or TenantEntry()


def load_rules(path: Path | None) -> Rules:
    """Read the file.

    Args:
        path: None for the built-in policy and no limits.

    Raises:
        SettingsError: It is not there, is not TOML, or says something that has no meaning; the message names the
            place and what is allowed.
    """
    if path is None:
        return Rules()
    try:
        content = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"FIREWALL_POLICIES: {path} cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise SettingsError(f"FIREWALL_POLICIES: {path} has more than {MAX_BYTES} bytes; it is no policy file")
    try:
        raw = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"FIREWALL_POLICIES: {path} is not TOML: {error}") from None
    try:
        found = _File.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(f"FIREWALL_POLICIES: {path}: {'; '.join(_faults(error))}") from None
    policies = {"default": Policy()} | {name: _policy(name, entry) for name, entry in found.policies.items()}
    return Rules(policies, dict(found.tenants))


def _policy(name: str, entry: PolicyEntry) -> Policy:
    return Policy(
        name=name,
        signals=tuple(entry.signals),
        budgets=entry.all_budgets(),
        alarms=tuple(entry.alarms),
        shadow=entry.shadow,
    )


def _faults(error: ValidationError) -> list[str]:
    return [_fault(fault) for fault in error.errors(include_url=False, include_input=False)]


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "is not a field of the file; see docs/policies.md"
    return f"{place}: {message}" if place else message
