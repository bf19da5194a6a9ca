"""Save and resume a training run, as safetensors: no pickle, not even our own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Checkpoint:
    """The state of one run on disk: parameters, AdamW moments, random state, steps done.

    Args:
        path: The file; written beside and renamed, so that an interrupted write leaves the last one whole.
        parameters: The run's parameters, always in the same order.
        optimiser: Its AdamW.
        generator: Its source of randomness.
    """

    def __init__(
        self,
        path: Path,
        parameters: "Sequence[torch.Tensor]",
        optimiser: "torch.optim.Optimizer",
        generator: "torch.Generator",
    ):
        self._path = path
        self._parameters = parameters
        self._optimiser = optimiser
        self._generator = generator

    def save(self, step: int) -> None:
        """Keep the state after ``step`` steps."""
        from safetensors.torch import save_file

        tensors = {"generator": self._generator.get_state()}
        for number, parameter in enumerate(self._parameters):
            tensors[f"{number}.value"] = parameter.detach()
            for name in ("exp_avg", "exp_avg_sq", "step"):
                tensors[f"{number}.{name}"] = self._optimiser.state[parameter][name]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        save_file(tensors, beside, metadata={"state": json.dumps({"step": step})})
        beside.replace(self._path)

    def resume(self) -> int:
        """Restore the state and return the steps done; 0 if there is none."""
        import torch
        from safetensors import safe_open

        if not self._path.is_file():
            return 0
        with safe_open(self._path, framework="pt") as kept:
            self._generator.set_state(kept.get_tensor("generator"))
            for number, parameter in enumerate(self._parameters):
                with torch.no_grad():
                    parameter.copy_(kept.get_tensor(f"{number}.value"))
                self._optimiser.state[parameter] = {
                    name: kept.get_tensor(f"{number}.{name}") for name in ("exp_avg", "exp_avg_sq", "step")
                }
            step: int = json.loads(kept.metadata()["state"])["step"]
        return step
