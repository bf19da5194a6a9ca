"""Policies: which signals count, and how many false alarms are affordable."""

from dataclasses import dataclass, field
from typing import Literal

from schemas.signal import SEVERITIES, SIGNALS, Severity, Signal

DEFAULT_BUDGETS: dict[Severity, float] = {"notice": 0.01, "warning": 0.001, "critical": 0.0001}


@dataclass(frozen=True)
class Policy:
    """What raises an alarm.

    Attributes:
        name: What jobs call it.
        signals: Signals that count towards the verdict; the others are scored and reported only.
        budgets: Share of benign texts that may reach each severity, descending.
        alarms: Severities that raise an alarm; a flagged text of another has its result only.
        shadow: Judge, but flag nothing: results say what the severity would be, no alarm is raised.
    """

    name: str = "default"
    # A harmful question is not an injection: it attacks nobody's instructions.
    signals: tuple[Signal, ...] = tuple(signal for signal in SIGNALS if signal != "harmful_request")
    budgets: dict[Severity, float] = field(default_factory=lambda: dict(DEFAULT_BUDGETS))
    alarms: tuple[Severity, ...] = SEVERITIES
    shadow: bool = False

    def severity(self, p_value: float) -> Severity | None:
        """Return the gravest severity whose budget the p-value is under, or None."""
        reached = [severity for severity in SEVERITIES if p_value < self.budgets[severity]]
        return reached[-1] if reached else None

    def verdict(self, severity: Severity | None) -> Literal["clean", "flagged"]:
        """Return the verdict on a text of this severity."""
        return "clean" if severity is None or self.shadow else "flagged"

    def raises_alarm(self, severity: Severity | None) -> bool:
        """Tell whether a text of this severity raises an alarm."""
        return severity in self.alarms and not self.shadow
