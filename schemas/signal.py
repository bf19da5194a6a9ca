"""The vocabulary of what can be found in a text, and how rare it is in benign traffic."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Signal = Literal[
    "instruction_override",
    "jailbreak",
    "prompt_extraction",
    "indirect_injection",
    "harmful_request",
    "obfuscation",
]
"""A kind of attack.

``instruction_override``: tells the model to drop or outrank its instructions. ``jailbreak``: talks it
out of its policy by role-play or argument. ``prompt_extraction``: asks for hidden instructions or
secrets. ``indirect_injection``: an instruction planted in a document, e-mail or tool output.
``harmful_request``: asks plainly for harm; no injection, therefore off in the default policy.
``obfuscation``: an instruction hidden by encoding or disguise.
"""

SIGNALS: tuple[Signal, ...] = get_args(Signal)

Severity = Literal["notice", "warning", "critical"]
"""How rare such a text is among benign ones: budgets are the policy's, by default 1 %, 0.1 %, 0.01 %."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class SignalScore(BaseModel):
    """What one signal's probe found in one text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    signal: Signal
    score: Annotated[float, Field(allow_inf_nan=False, description="Probe logit; higher is more suspicious.")]
    p_value: Annotated[
        Probability,
        Field(description="Share of benign texts of this length that score at least as high."),
    ]
    extrapolated: Annotated[
        bool,
        Field(description="The p-value lies beyond the calibration sample, on the fitted Pareto tail."),
    ] = False


class EvidenceSpan(BaseModel):
    """A stretch of the submitted text that carried the score.

    ``start`` and ``end`` count characters (Unicode code points, as Python counts) of the text exactly as
    it was submitted. JavaScript and Java count UTF-16 units: convert before slicing there.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    signal: Signal
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0, description="Exclusive.")]
    weight: Annotated[Probability, Field(description="Share of the signal's positive evidence in this span.")]
    excerpt: Annotated[
        str | None, Field(description="The text itself; only when FIREWALL_EVIDENCE_EXCERPTS is on.")
    ] = None
