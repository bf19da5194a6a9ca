"""Train a low-rank adapter together with attention probes, end to end."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from worker.codebook.adapter import Adapter, LowRank
from worker.codebook.probe import Basis, Probe
from worker.fitting.attention import attention_in_float32
from worker.fitting.checkpoint import Checkpoint
from worker.fitting.train import attention_logits, document_loss, initial_probe, queries_then_values
from worker.model.encoder import WindowBatch
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window

if TYPE_CHECKING:
    import torch
    from torch import nn


CHECKPOINT_STEPS = 50


@dataclass(frozen=True)
class AdapterPlan:
    """Choices of the adapter's training.

    Attributes:
        rank: Rank of every change; 0 trains no adapter.
        first_layer: First block whose maps are changed, 1-based; earlier ones need no backward pass.
        epochs: Passes over the documents.
        learning_rate: Peak for the adapter.
        probe_learning_rate: Peak for the probes.
        weight_decay: Decoupled (AdamW).
        dropout: Share of projected directions silenced in a step.
        attack_windows: Windows of a long attack document seen in one epoch, drawn anew each time; the attack
            may be in any of them.
        benign_windows: The same of a long benign document.
        source_rows: Rows of one source seen in one epoch, drawn anew each time; variety teaches, not number.
        batch_tokens: Padded tokens of one step.
        seed: Of initial values and order.
    """

    rank: int = 16
    first_layer: int = 1
    epochs: int = 2
    learning_rate: float = 1e-3
    probe_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    attack_windows: int = 2
    benign_windows: int = 1
    source_rows: int = 300
    batch_tokens: int = 4096
    seed: int = 20_261_122


def train_adapter(
    model: TruncatedModel,
    basis: Basis,
    documents: Sequence[Sequence[Window]],
    sources: Sequence[str],
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    plan: AdapterPlan,
    heads: int,
    state: Path,
    progress: Callable[[str, int], Callable[[int], None]],
) -> tuple[Adapter, Probe]:
    """Fit changes of all linear maps of the model's blocks, and probes on the changed activations.

    Args:
        model: The truncated model; its weights are left as they are.
        basis: Projection of the unchanged model's activations; it stays fixed.
        documents: Windows of every document.
        sources: Source of every document.
        targets: float32 ``(n_documents, n_signals)``, 1 where a document carries a signal.
        weights: float32 ``(n_documents, n_signals)``.
        plan: The choices.
        heads: Attention heads a signal.
        state: Checkpoint; an interrupted run goes on from it. Its name must tell this run from others.
        progress: Opens progress bars.

    Returns:
        The adapter in float16 and the probe. The same input gives the same result on the same machine.
    """
    import torch

    generator = torch.Generator().manual_seed(plan.seed)
    probe = initial_probe(targets.shape[1], heads, basis.rank, generator)
    mean, components = torch.from_numpy(basis.mean), torch.from_numpy(basis.components)
    maps = _changed_maps(model, plan.first_layer)
    changes = {name: _branch(module, plan.rank, generator) for name, module in maps.items()}
    for name, change in changes.items():
        model.model.set_submodule(name, change)
    low_rank = [tensor for change in changes.values() for tensor in change.parameters() if tensor.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": low_rank, "lr": plan.learning_rate}, {"params": probe, "lr": plan.probe_learning_rate}],
        weight_decay=plan.weight_decay,
    )
    attacks = targets.max(axis=1) > 0
    batches = [
        batch
        for epoch in range(plan.epochs)
        for batch in _epoch(documents, sources, attacks, plan, np.random.default_rng(plan.seed + epoch))
    ]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [plan.learning_rate, plan.probe_learning_rate], total_steps=len(batches), pct_start=0.1
    )
    checkpoint = Checkpoint(state, [*low_rank, *probe], optimiser, generator)
    done = checkpoint.resume()
    advance = progress("adapter steps", len(batches))
    advance(done)
    with warnings.catch_warnings():
        # The schedule of the steps already made is run through without them.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(done):
            schedule.step()
    with attention_in_float32(model):
        for step, batch in enumerate(batches[done:], start=done + 1):
            chosen = np.array([document for document, _ in batch])
            owner = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(seen) for _, seen in batch]))
            keep = torch.rand(basis.rank, generator=generator) >= plan.dropout
            # Folded as in serving: the product with all directions of the basis would cost three times as much.
            matrix = (components * (keep / (1 - plan.dropout))) @ queries_then_values(*probe[:2]).T
            windows = WindowBatch.of([window for _, seen in batch for window in seen])
            queries_values, mask = _project(model, windows, matrix)
            logits = attention_logits(queries_values - mean @ matrix, mask, probe[2])
            loss = document_loss(logits, owner, targets[chosen], weights[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([*low_rank, *probe], 1.0)
            optimiser.step()
            schedule.step()
            advance(1)
            if step % CHECKPOINT_STEPS == 0:
                checkpoint.save(step)
    for name, module in maps.items():
        model.model.set_submodule(name, module)
    adapter = {name: LowRank(_half(change.down), _half(change.up)) for name, change in changes.items()}
    query, value, bias = (parameter.detach().numpy().astype(np.float32) for parameter in probe)
    return adapter, Probe(query, value, bias)


def _epoch(
    documents: Sequence[Sequence[Window]],
    sources: Sequence[str],
    attacks: npt.NDArray[np.bool_],
    plan: AdapterPlan,
    generator: np.random.Generator,
) -> list[list[tuple[int, list[Window]]]]:
    """Draw windows of every document and cut them into shuffled batches of nearly equal lengths."""
    drawn: list[tuple[int, list[Window]]] = []
    seen_of: Counter[str] = Counter()
    for number in generator.permutation(len(documents)).tolist():
        seen_of[sources[number]] += 1
        if seen_of[sources[number]] > plan.source_rows:
            continue
        windows = documents[number]
        most = plan.attack_windows if attacks[number] else plan.benign_windows
        picked = generator.choice(len(windows), min(most, len(windows)), replace=False)
        drawn.append((number, [windows[i] for i in sorted(picked)]))
    # Lengths are blurred, so that batches of one epoch are not those of the next.
    keys = [max(map(len, seen)) * generator.uniform(0.9, 1.1) for _, seen in drawn]
    batches: list[list[tuple[int, list[Window]]]] = []
    count = longest = 0
    for index in np.argsort(keys, kind="stable"):
        document = drawn[index]
        longest = max(longest, *map(len, document[1]))
        if batches and longest * (count + len(document[1])) <= plan.batch_tokens:
            batches[-1].append(document)
            count += len(document[1])
        else:
            batches.append([document])
            count, longest = len(document[1]), max(map(len, document[1]))
    return [batches[i] for i in generator.permutation(len(batches))]


def _half(parameter: Any) -> npt.NDArray[np.float16]:
    return np.asarray(parameter.detach().numpy(), dtype=np.float16)


def _project(model: TruncatedModel, batch: WindowBatch, matrix: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the product of the layers' activations, side by side, with a matrix, with its graph, and the mask."""
    parts = dict(zip(model.layers, matrix.view(-1, model.hidden, matrix.shape[1]).unbind(), strict=True))
    kept: list[torch.Tensor] = []
    mask = model.run(batch, lambda layer, hidden: kept.append(hidden.float() @ parts[layer]), gradients=True)
    return sum(kept[1:], start=kept[0]), mask


def _changed_maps(model: TruncatedModel, first_layer: int) -> "dict[str, nn.Linear]":
    """Return the linear maps from ``first_layer`` on by their dotted names."""
    from torch import nn

    changed = {id(module) for block in list(model.stack)[first_layer - 1 :] for module in block.modules()}
    return {
        name: module
        for name, module in model.model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in changed
    }


def _branch(linear: "nn.Linear", rank: int, generator: "torch.Generator") -> "nn.Module":
    """Return ``x -> linear(x) + (x @ down.T) @ up.T`` (LoRA, arXiv 2106.09685), in the map's arithmetic.

    The other form, one product with ``weight + up @ down``, must compute the gradient of the whole weight.
    """
    import torch
    from torch import nn

    class LowRankBranch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            scale = linear.in_features**-0.5
            self.linear = linear
            self.down = nn.Parameter(torch.randn(rank, linear.in_features, generator=generator) * scale)
            self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            thin = x @ self.down.to(x.dtype).T
            wide = torch.addmm(self.linear(x).flatten(0, -2), thin.flatten(0, -2), self.up.to(x.dtype).T)
            return wide.view(*x.shape[:-1], linear.out_features)

    return LowRankBranch()
