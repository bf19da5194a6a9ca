"""A pickle that leaves a trace when it is loaded, to prove that nothing loads it."""

import pickle
from pathlib import Path


class _Trap:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._trace,)


def planted_pickle(trace: Path) -> bytes:
    """Return a pickle that creates the file ``trace`` when somebody loads it."""
    return pickle.dumps(_Trap(trace))
