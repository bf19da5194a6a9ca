"""Screen admitted items: views, windows, engine, scores, evidence. Runs in a task's thread."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas import limits
from schemas.signal import EvidenceSpan, Severity, Signal, SignalScore
from worker.codebook.format import Codebook
from worker.errors import (
    EngineStopped,
    FirewallError,
    ForwardFailed,
    InputError,
    NoTokens,
    TooManyTokens,
    UnknownPolicy,
)
from worker.model.encoder import FloatArray
from worker.model.windows import TokenizedText, Window, WindowTokenizer
from worker.screening.engine import Engine
from worker.screening.evidence import to_evidence, token_spans
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer, largest_by_document
from worker.text.canonical import CanonicalView, canonical_view


@dataclass(frozen=True, slots=True)
class Finding:
    """What screening found in one text.

    Attributes:
        statistic: The policy's document statistic; higher is more suspicious.
        p_value: Calibrated end to end.
        extrapolated: The p-value lies beyond the calibration sample.
        severity: None if the text is clean.
        leading: The policy's signal with the smallest p-value.
        signals: Every signal of the codebook, in its order.
        evidence: Character spans of the text as written; empty if the text is clean and was not to be explained.
        tokens: Tokens of the text as written.
        windows: Windows of all views together.
        policy: What it was judged by.
    """

    statistic: float
    p_value: float
    extrapolated: bool
    severity: Severity | None
    leading: Signal
    signals: list[SignalScore]
    evidence: list[EvidenceSpan]
    tokens: int
    windows: int
    policy: Policy


@dataclass(slots=True)
class _View:
    """One reading of a text: its tokens and windows, and how to get back to the text as written."""

    tokens: TokenizedText
    windows: list[Window]
    canonical: CanonicalView | None


@dataclass(slots=True)
class Prepared:
    """A text ready for the engine; the first view is the text as written."""

    views: list[_View]

    @property
    def windows(self) -> list[Window]:
        """Windows of all views in a row."""
        return [window for view in self.views for window in view.windows]

    @property
    def n_tokens(self) -> int:
        """Tokens of the text as written, or of its canonical view if that is all there is."""
        return len(self.views[0].tokens.ids) or len(self.views[-1].tokens.ids)

    def fault(self) -> InputError | None:
        """Return why the engine cannot take the text, if it cannot."""
        if not self.windows:
            return NoTokens("the text has no tokens for the model (only marks or invisible characters)", field="text")
        most = max(len(view.tokens.ids) for view in self.views)
        if most > limits.MAX_ITEM_TOKENS:
            return TooManyTokens(
                f"the text has {most} tokens, the limit is {limits.MAX_ITEM_TOKENS}; submit its parts as items",
                field="text",
            )
        return None

    def locate(self, row: int) -> tuple[_View, Window]:
        """Return view and window of a row of ``windows``."""
        for view in self.views:
            if row < len(view.windows):
                return view, view.windows[row]
            row -= len(view.windows)
        raise IndexError(row)


def prepare(tokenizer: WindowTokenizer, texts: Sequence[str]) -> list[Prepared]:
    """Make views and windows of texts; all tokenised in one call."""
    readings: list[str] = []
    layout: list[list[CanonicalView | None]] = []
    for text in texts:
        canonical = canonical_view(text)
        layout.append([None] if canonical is None else [None, canonical])
        readings += [text] if canonical is None else [text, canonical.text]
    tokenized = iter(tokenizer.tokenize(readings))
    prepared = []
    for views in layout:
        made = [(next(tokenized), canonical) for canonical in views]
        prepared.append(Prepared([_View(tokens, tokenizer.windows(tokens.ids), c) for tokens, c in made]))
    return prepared


def _outcome(future: "Future[FloatArray] | InputError") -> FloatArray | FirewallError:
    """Wait for a text's logits; return the error that concerns this text alone, raise any other."""
    if isinstance(future, InputError):
        return future
    try:
        return future.result()
    except EngineStopped:
        raise
    except FirewallError as error:
        return error


class Screener:
    """A codebook, its model and its policies, shared by all task threads of a process."""

    def __init__(
        self,
        codebook: Codebook,
        tokenizer: WindowTokenizer,
        engine: Engine,
        policies: Mapping[str, Policy],
    ):
        self.codebook = codebook
        self.engine = engine
        self._tokenizer = tokenizer
        self.use(policies)

    def use(self, policies: Mapping[str, Policy]) -> None:
        """Have texts from now on judged by these policies."""
        self._scorers = {name: Scorer(self.codebook, policy) for name, policy in policies.items()}

    @property
    def policies(self) -> frozenset[str]:
        """Names that jobs may use."""
        return frozenset(self._scorers)

    def policy(self, name: str) -> Policy:
        """Return a policy by its name."""
        return self._scorers[name].policy

    def screen(
        self, texts: Sequence[str], *, policy: str = "default", bulk: bool = False, explain_clean: bool = False
    ) -> list[Finding | FirewallError]:
        """Screen texts and wait for the verdicts.

        Args:
            texts: Admitted texts.
            policy: One of ``policies``.
            bulk: Yield to interactive work.
            explain_clean: Look for evidence in clean texts as well; costs one more pass for each.

        Returns:
            For each text its finding, or the error that concerns this text alone.

        Raises:
            Overloaded: The engine's queue is full; nothing was screened.
            EngineStopped: The worker is shutting down; nothing may be published.
        """
        scorer = self._scorers.get(policy)
        if scorer is None:  # taken away since the job was let in
            known = ", ".join(sorted(self._scorers))
            return [UnknownPolicy(f"policy {policy} is unknown here; known: {known}", field="policy")] * len(texts)
        futures: list[Future[FloatArray] | InputError] = []
        try:
            with self.engine.preparing():
                prepared = prepare(self._tokenizer, texts)
                for text in prepared:
                    # One by one: what was submitted before an error must be known to be cancelled.
                    futures.append(text.fault() or self.engine.submit(text.windows, bulk=bulk))  # noqa: PERF401
            outcomes = [_outcome(future) for future in futures]
        except FirewallError:
            # The job comes back as a whole: what it has queued must not keep the engine busy.
            for future in futures:
                if isinstance(future, Future):
                    future.cancel()
            raise
        return self._judge(prepared, outcomes, scorer, explain_clean=explain_clean)

    def _judge(
        self,
        prepared: list[Prepared],
        outcomes: list[FloatArray | FirewallError],
        scorer: Scorer,
        *,
        explain_clean: bool,
    ) -> list[Finding | FirewallError]:
        """Score all screened texts at once; leave errors where they are."""
        screened = [(i, o) for i, o in enumerate(outcomes) if not isinstance(o, FirewallError)]
        findings: dict[int, Finding | FirewallError] = {
            i: o for i, o in enumerate(outcomes) if isinstance(o, FirewallError)
        }
        if not screened:
            return [findings[i] for i in range(len(outcomes))]
        largest, rows = largest_by_document(
            np.concatenate([logits for _, logits in screened]), [len(logits) for _, logits in screened]
        )
        tokens = np.array([prepared[i].n_tokens for i, _ in screened], dtype=np.int32)
        scores = scorer.score(largest, tokens)
        severities = [scorer.policy.severity(float(p_value)) for p_value in scores.p_value]
        columns = [scorer.leading_signal(log_p) for log_p in scores.log_p]
        starts = np.cumsum([0, *(len(logits) for _, logits in screened)])
        # All attributions are asked for before the first is awaited, so that they share the engine.
        explanations = [
            self._explain(prepared[i], int(rows[n, columns[n]] - starts[n])) if severity or explain_clean else None
            for n, ((i, _), severity) in enumerate(zip(screened, severities, strict=True))
        ]
        for n, (position, logits) in enumerate(screened):
            explanation = explanations[n]
            findings[position] = Finding(
                statistic=float(scores.statistic[n]),
                p_value=float(scores.p_value[n]),
                extrapolated=bool(scores.p_extrapolated[n]),
                severity=severities[n],
                leading=self.codebook.header.signals[columns[n]],
                signals=self._signals(largest[n], scores.log_p[n], scores.extrapolated[n]),
                evidence=[] if explanation is None else self._evidence(*explanation, columns[n]),
                tokens=int(tokens[n]),
                windows=len(logits),
                policy=scorer.policy,
            )
        return [findings[i] for i in range(len(outcomes))]

    def _signals(
        self,
        logits: npt.NDArray[np.float32],
        log_p: npt.NDArray[np.float64],
        extrapolated: npt.NDArray[np.bool_],
    ) -> list[SignalScore]:
        return [
            SignalScore(signal=signal, score=float(logit), p_value=float(np.exp(lp)), extrapolated=bool(beyond))
            for signal, logit, lp, beyond in zip(self.codebook.header.signals, logits, log_p, extrapolated, strict=True)
        ]

    def _explain(self, text: Prepared, row: int) -> "tuple[_View, Window, Future[FloatArray]]":
        view, window = text.locate(row)
        return view, window, self.engine.explain(window)

    def _evidence(self, view: _View, window: Window, shares: "Future[FloatArray]", column: int) -> list[EvidenceSpan]:
        start = len(self._tokenizer.prefix)
        try:
            spans = token_spans(shares.result()[start : start + window.content, column])
        except ForwardFailed:
            return []  # an alarm without evidence is worth more than no alarm
        offsets = view.tokens.offsets[window.first : window.first + window.content]
        found = to_evidence(spans, offsets, self.codebook.header.signals[column])
        if view.canonical is None:
            return found
        mapped = [view.canonical.span(span.start, span.end) for span in found]
        return [
            span.model_copy(update={"start": start, "end": end})
            for span, (start, end) in zip(found, mapped, strict=True)
        ]
