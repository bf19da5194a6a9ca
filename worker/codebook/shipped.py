"""The codebooks that come with the project, by model."""

from pathlib import Path

from worker.errors import CodebookNotFound
from worker.model.pinned import MINILM

_FILES = {MINILM: "all-MiniLM-L6-v2.safetensors"}
_DIRECTORY = Path(__file__).parent / "data"


def codebook_path(model: str, chosen: Path | None) -> Path:
    """Return the codebook file to use: the chosen one, else the one shipped for the model.

    Raises:
        CodebookNotFound: None was chosen and none is shipped; the message says how to fit one.
    """
    if chosen is not None:
        return chosen
    if model not in _FILES:
        raise CodebookNotFound(
            f"no codebook is shipped for {model}. Fit one: alknet-firewall calibrate --model {model} "
            "--train train.jsonl --out codebook.safetensors, then set "
            "FIREWALL_CODEBOOK=codebook.safetensors. The JSONL rows have text, label (0 or 1) and signal."
        )
    return _DIRECTORY / _FILES[model]
