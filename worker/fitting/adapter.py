"""Train a low-rank adapter together with attention probes, end to end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from worker.codebook.adapter import Adapter, LowRank
from worker.codebook.probe import Basis, Probe
from worker.fitting.train import combined_loss, initial_probe, window_logits
from worker.model.encoder import WindowBatch
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window

if TYPE_CHECKING:
    import torch


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
        batch_tokens: Padded tokens of one step.
        seed: Of initial values and order.
    """

    rank: int = 8
    first_layer: int = 4
    epochs: int = 2
    learning_rate: float = 1e-3
    probe_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    attack_windows: int = 2
    benign_windows: int = 1
    batch_tokens: int = 4096
    seed: int = 20_261_122


def train_adapter(
    model: TruncatedModel,
    basis: Basis,
    documents: Sequence[Sequence[Window]],
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    plan: AdapterPlan,
    heads: int,
    progress: Callable[[str, int], Callable[[int], None]],
) -> tuple[Adapter, Probe]:
    """Fit changes of all linear maps of the model's blocks, and probes on the changed activations.

    Args:
        model: The truncated model; its weights are left as they are.
        basis: Projection of the unchanged model's activations; it stays fixed.
        documents: Windows of every document.
        targets: float32 ``(n_documents, n_signals)``, 1 where a document carries a signal.
        weights: float32 ``(n_documents, n_signals)``.
        plan: The choices.
        heads: Attention heads a signal.
        progress: Opens progress bars.

    Returns:
        The adapter in float16 and the probe. The same input gives the same result on the same machine.
    """
    import torch

    generator = torch.Generator().manual_seed(plan.seed)
    probe = initial_probe(targets.shape[1], heads, basis.rank, generator)
    mean, components = torch.from_numpy(basis.mean), torch.from_numpy(basis.components)
    changes, handles = _inject(model, plan, generator)
    low_rank = [parameter for change in changes.values() for parameter in (change.down, change.up)]
    optimiser = torch.optim.AdamW(
        [{"params": low_rank, "lr": plan.learning_rate}, {"params": probe, "lr": plan.probe_learning_rate}],
        weight_decay=plan.weight_decay,
    )
    attacks = targets.max(axis=1) > 0
    epochs = [_epoch(documents, attacks, plan, np.random.default_rng(plan.seed + e)) for e in range(plan.epochs)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [plan.learning_rate, plan.probe_learning_rate],
        total_steps=sum(len(batches) for batches in epochs),
        pct_start=0.1,
    )
    advance = progress("adapter steps", sum(len(batches) for batches in epochs))
    for batches in epochs:
        for batch in batches:
            chosen = np.array([document for document, _ in batch])
            windows = [window for _, seen in batch for window in seen]
            owner = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(seen) for _, seen in batch]))
            hidden, mask = _forward(model, WindowBatch.of(windows))
            keep = torch.rand(basis.rank, generator=generator) >= plan.dropout
            z = ((hidden - mean) @ components) * (keep / (1 - plan.dropout))
            logits = window_logits(z, mask, *probe)
            largest = torch.full((len(batch), targets.shape[1]), -torch.inf)
            largest = largest.scatter_reduce(0, owner[:, None].expand(-1, targets.shape[1]), logits, "amax")
            loss = combined_loss(largest, torch.from_numpy(targets[chosen]), torch.from_numpy(weights[chosen]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([*low_rank, *probe], 1.0)
            optimiser.step()
            schedule.step()
            advance(1)
    adapter = {name: change.as_low_rank() for name, change in changes.items()}
    for handle in handles:
        handle.remove()
    query, value, bias = (parameter.detach().numpy().astype(np.float32) for parameter in probe)
    return adapter, Probe(query, value, bias)


def _epoch(
    documents: Sequence[Sequence[Window]],
    attacks: npt.NDArray[np.bool_],
    plan: AdapterPlan,
    generator: np.random.Generator,
) -> list[list[tuple[int, list[Window]]]]:
    """Draw windows of every document and cut them into shuffled batches of nearly equal lengths."""
    drawn: list[tuple[int, list[Window]]] = []
    for number, windows in enumerate(documents):
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


def _forward(model: TruncatedModel, batch: WindowBatch) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the layers' activations side by side in float32, with their graph, and the mask."""
    import torch

    kept: list[torch.Tensor] = []
    mask = model.run(batch, lambda _layer, hidden: kept.append(hidden.float()), gradients=True)
    return torch.cat(kept, dim=-1), mask


class _Change:
    """A trainable change of one linear map, added by a forward hook."""

    def __init__(self, module: Any, rank: int, generator: "torch.Generator"):
        import torch

        scale = module.in_features**-0.5
        self.down = (torch.randn(rank, module.in_features, generator=generator) * scale).requires_grad_()
        self.up = torch.zeros(module.out_features, rank, requires_grad=True)

    def __call__(self, _module: Any, inputs: Any, output: Any) -> Any:
        x = inputs[0]
        return output + (x @ self.down.T.to(x.dtype)) @ self.up.T.to(x.dtype)

    def as_low_rank(self) -> LowRank:
        return LowRank(
            self.down.detach().numpy().astype(np.float16),
            self.up.detach().numpy().astype(np.float16),
        )


def _inject(
    model: TruncatedModel, plan: AdapterPlan, generator: "torch.Generator"
) -> tuple[dict[str, _Change], list[Any]]:
    """Add a change to every linear map from ``first_layer`` on; return them by name, and their handles."""
    import torch

    changed = {id(m) for block in list(model.stack)[plan.first_layer - 1 :] for m in block.modules()}
    changes: dict[str, _Change] = {}
    handles = []
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear) and id(module) in changed:
            changes[name] = _Change(module, plan.rank, generator)
            handles.append(module.register_forward_hook(changes[name]))
    return changes, handles
