"""Train the attention probes on projected activations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from schemas.signal import SIGNALS
from worker.codebook.probe import Probe
from worker.fitting.activations import ProjectedWindows
from worker.screening.policy import Policy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingPlan:
    """Choices of one fit.

    Attributes:
        heads: Attention heads a signal.
        epochs: Passes over the documents.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decoupled (AdamW).
        dropout: Share of projected directions silenced in a step.
        batch_tokens: Padded tokens of one step.
        seed: Of initial values and order.
    """

    heads: int = 8
    epochs: int = 6
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    dropout: float = 0.1
    batch_tokens: int = 16_384
    seed: int = 20_261_122


def train_probe(
    projected: ProjectedWindows,
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    plan: TrainingPlan,
    advance: Callable[[int], None],
) -> Probe:
    """Fit queries and values by binary cross-entropy of each document's largest window logit.

    Args:
        projected: Activations of all documents' windows.
        targets: 1 where a document carries a signal, float32 ``(n_documents, n_signals)``.
        weights: Weight of each target, float32 ``(n_documents, n_signals)``; 0 leaves it out.
        plan: The choices.
        advance: Called with 1 after every epoch.

    Returns:
        The probe. The same input and number of threads give the same probe, bit by bit.
    """
    import torch

    generator = torch.Generator().manual_seed(plan.seed)
    n_signals, rank = targets.shape[1], projected.values.shape[1]
    parameters = initial_probe(n_signals, plan.heads, rank, generator)
    batches = _document_batches(projected, plan.batch_tokens)
    optimiser = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.learning_rate, total_steps=plan.epochs * len(batches), pct_start=0.2
    )
    for _ in range(plan.epochs):
        for index in torch.randperm(len(batches), generator=generator).tolist():
            documents = batches[index]
            z, mask, owner = _load(projected, documents)
            keep = torch.rand(rank, generator=generator) >= plan.dropout
            logits = window_logits(z * (keep / (1 - plan.dropout)), mask, *parameters)
            loss = document_loss(logits, owner, targets[documents], weights[documents])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
        advance(1)
    query, value, bias = (p.detach().numpy().astype(np.float32) for p in parameters)
    return Probe(query, value, bias)


def window_logits(
    z: "torch.Tensor",
    mask: "torch.Tensor",
    query: "torch.Tensor",
    value: "torch.Tensor",
    bias: "torch.Tensor",
) -> "torch.Tensor":
    """Return the probe's logits of padded windows; the formula of ``worker.codebook.probe``.

    Args:
        z: Projected activations, float32 ``(n_windows, length, rank)``.
        mask: Tokens that exist, bool ``(n_windows, length)``.
        query: ``(n_signals, n_heads, rank)``.
        value: ``(n_signals, n_heads, rank)``.
        bias: ``(n_signals,)``.

    Returns:
        float32 ``(n_windows, n_signals)``.
    """
    return attention_logits(z @ queries_then_values(query, value).T, mask, bias)


def queries_then_values(query: "torch.Tensor", value: "torch.Tensor") -> "torch.Tensor":
    """Return all heads' queries, then their values, ``(2 * n_signals * n_heads, rank)``."""
    import torch

    return torch.cat([query.flatten(0, 1), value.flatten(0, 1)])


def attention_logits(queries_values: "torch.Tensor", mask: "torch.Tensor", bias: "torch.Tensor") -> "torch.Tensor":
    """Return the logits of padded windows from their tokens' queries and values.

    Args:
        queries_values: float32 ``(n_windows, length, 2 * n_signals * n_heads)``.
        mask: Tokens that exist, bool ``(n_windows, length)``.
        bias: ``(n_signals,)``.

    Returns:
        float32 ``(n_windows, n_signals)``.
    """
    import torch

    queries, values = torch.tensor_split(queries_values, 2, dim=-1)
    attention = queries.masked_fill(~mask[:, :, None], -torch.inf).softmax(dim=1)
    pooled = (attention * values).sum(dim=1).view(len(mask), len(bias), -1)
    logits: torch.Tensor = pooled.sum(dim=-1) + bias
    return logits


def document_loss(
    window_logits: "torch.Tensor",
    owner: "torch.Tensor",
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
) -> "torch.Tensor":
    """Return the loss of a batch of documents, each judged by its largest window logit.

    Args:
        window_logits: float32 ``(n_windows, n_signals)``.
        owner: Document of every window, int64 ``(n_windows,)``.
        targets: float32 ``(n_documents, n_signals)``.
        weights: float32 ``(n_documents, n_signals)``.
    """
    import torch

    largest = torch.full(targets.shape, -torch.inf)
    largest = largest.scatter_reduce(0, owner[:, None].expand_as(window_logits), window_logits, "amax")
    return combined_loss(largest, torch.from_numpy(targets), torch.from_numpy(weights))


def combined_loss(logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
    """Return the loss of document logits.

    Binary cross-entropy of every signal, and of the default policy's signals together: their log-sum-exp
    must tell any attack from benign texts, whichever signal notices it.

    Args:
        logits: Document logits, float32 ``(n_documents, n_signals)``.
        targets: float32, the same shape.
        weights: float32, the same shape.
    """
    import torch

    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
    counted = [SIGNALS.index(signal) for signal in Policy().signals]
    attack = targets[:, counted].amax(dim=1)
    # An attack weighs as its own signal does; a row that is none, as the least of its targets does.
    weight = (weights * targets)[:, counted].amax(dim=1) + weights[:, counted].amin(dim=1) * (1 - attack)
    together = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, counted].logsumexp(dim=1), attack, weight, reduction="sum"
    )
    return each / weights.sum().clamp(min=1.0) + together / weight.sum().clamp(min=1.0)


def initial_probe(signals: int, heads: int, rank: int, generator: "torch.Generator") -> "list[torch.Tensor]":
    """Return query, value and bias to start from; shapes as in ``Probe``."""
    import torch

    return [
        (torch.randn(signals, heads, rank, generator=generator) * 0.02).requires_grad_(),
        (torch.randn(signals, heads, rank, generator=generator) * 0.02).requires_grad_(),
        torch.full((signals,), -2.0, requires_grad=True),
    ]


def _document_batches(projected: ProjectedWindows, budget: int) -> list[npt.NDArray[np.int64]]:
    """Group documents of similar length so that their windows, padded together, fit the budget."""
    lengths = np.diff(projected.starts)
    n_documents = int(projected.documents[-1]) + 1
    longest, count = np.zeros(n_documents, np.int64), np.zeros(n_documents, np.int64)
    np.maximum.at(longest, projected.documents, lengths)
    np.add.at(count, projected.documents, 1)
    batches: list[list[int]] = []
    windows = 0
    for document in np.lexsort((np.arange(n_documents), count, longest)):
        if batches and (windows + count[document]) * longest[document] <= budget:
            batches[-1].append(int(document))
            windows += count[document]
        else:
            batches.append([int(document)])
            windows = count[document]
    return [np.array(sorted(batch), dtype=np.int64) for batch in batches]


def _load(
    projected: ProjectedWindows, documents: npt.NDArray[np.int64]
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Return padded values, mask, and the position in ``documents`` of every window's document."""
    import torch

    first = np.searchsorted(projected.documents, documents, side="left")
    last = np.searchsorted(projected.documents, documents, side="right")
    windows = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    owner = np.repeat(np.arange(len(documents)), last - first)
    lengths = projected.starts[windows + 1] - projected.starts[windows]
    mask = np.arange(lengths.max()) < lengths[:, None]
    z = np.zeros((*mask.shape, projected.values.shape[1]), dtype=np.float32)
    for row, window in enumerate(windows):
        z[row, : lengths[row]] = projected.values[projected.starts[window] : projected.starts[window + 1]]
    return torch.from_numpy(z), torch.from_numpy(mask), torch.from_numpy(owner)
