"""Where a model's files come from, in which order, and what is never loaded."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from worker.errors import MissingExtra, ModelNotFound, SettingsError, UnsafeWeights, WeightsMismatch
from worker.model import hub
from worker.model.hub import ALLOW_PATTERNS, ModelFiles, resolve_model
from worker.model.pinned import MINILM, PINNED, SMOLLM2, PinnedModel

COMMIT = "ab" * 20
NAME = "acme/tiny"
SECRET = "hf_secretsecretsecret"


def write_model(directory: Path, weights: bytes = b"weights") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "tokenizer.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(weights)
    return directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    directory = tmp_path / "hf-cache"
    directory.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(directory))
    return directory


def put_into_cache(cache: Path, name: str = NAME, commit: str = COMMIT) -> Path:
    return write_model(cache / f"models--{name.replace('/', '--')}" / "snapshots" / commit)


class FakeHub:
    """Answers a download by writing files, as the hub would; knows whether it was asked."""

    def __init__(self, directory: Path, files: Path | None = None, error: Exception | None = None):
        self.directory, self.files, self.error = directory, files, error
        self.asked: list[dict[str, Any]] = []
        self._real_snapshot = huggingface_hub.snapshot_download

    def metadata(self, *_: Any, **__: Any) -> None:
        if self.error:
            raise self.error

    def snapshot(self, name: str, **keywords: Any) -> str:
        if keywords.get("local_files_only"):
            return self._real_snapshot(name, **keywords)
        self.asked.append({"name": name, **keywords})
        return str(write_model(self.directory))


@pytest.fixture
def make_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(error: Exception | None = None) -> FakeHub:
        fake = FakeHub(tmp_path / "from-hub", error=error)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fake.metadata)
        return fake

    return make


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries the model."""
    package = tmp_path / "site" / "tiny_package"
    write_model(package / "model")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setitem(PINNED, NAME, PinnedModel(COMMIT, package="tiny_package"))
    return package / "model"


def test_local_directory_comes_first(tmp_path: Path, make_hub: Any) -> None:
    fake = make_hub()
    directory = write_model(tmp_path / "mine")
    files = resolve_model(str(directory))
    assert (files.origin, files.directory, files.revision) == ("local", directory, None)
    assert fake.asked == []


def test_cache_comes_before_the_hub(cache: Path, make_hub: Any, embedded: Path) -> None:
    fake = make_hub()
    directory = put_into_cache(cache)
    files = resolve_model(NAME)
    assert (files.origin, files.directory, files.revision) == ("cache", directory, COMMIT)
    assert fake.asked == []


def test_hub_comes_before_the_embedded_package(make_hub: Any, embedded: Path) -> None:
    make_hub()
    assert resolve_model(NAME).origin == "hub"


def test_embedded_package_comes_last(make_hub: Any, embedded: Path) -> None:
    make_hub(error=ConnectionError("no network"))
    files = resolve_model(NAME)
    assert (files.origin, files.directory) == ("embedded", embedded)


def test_offline_mode_never_asks_the_hub(make_hub: Any, embedded: Path) -> None:
    fake = make_hub()
    assert resolve_model(NAME, offline=True).origin == "embedded"
    assert fake.asked == []


def test_download_is_pinned_and_takes_safetensors_only(make_hub: Any) -> None:
    fake = make_hub()
    resolve_model(NAME, revision=COMMIT)
    assert fake.asked == [{"name": NAME, "revision": COMMIT, "allow_patterns": list(ALLOW_PATTERNS)}]
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in ALLOW_PATTERNS)


def test_embedded_package_is_not_used_for_another_revision(make_hub: Any, embedded: Path) -> None:
    make_hub(error=ConnectionError("no network"))
    with pytest.raises(ModelNotFound):
        resolve_model(NAME, revision="cd" * 20)


def test_message_lists_what_was_tried(make_hub: Any) -> None:
    make_hub(error=ConnectionError("no network"))
    with pytest.raises(ModelNotFound) as caught:
        resolve_model(NAME, revision=COMMIT)
    message = caught.value.message
    assert "cache: not there" in message
    assert "hub: ConnectionError" in message
    assert "embedded package: none" in message
    assert f"alknet-firewall download {NAME} --revision {COMMIT}" in message


def test_message_says_that_the_hub_was_not_asked() -> None:
    with pytest.raises(ModelNotFound, match="not asked, offline mode"):
        resolve_model(NAME, revision=COMMIT, offline=True)


def test_token_is_in_no_message(make_hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    make_hub(error=PermissionError(f"401 with Authorization: Bearer {SECRET}"))
    with pytest.raises(ModelNotFound) as caught:
        resolve_model(NAME, revision=COMMIT)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "model.pt", "weights.ckpt", "tf_model.h5"])
def test_pickled_weights_are_refused(tmp_path: Path, pickled: str) -> None:
    directory = write_model(tmp_path / "pickled")
    (directory / "model.safetensors").rename(directory / pickled)
    with pytest.raises(UnsafeWeights, match=pickled) as caught:
        resolve_model(str(directory))
    assert caught.value.code == "unsafe_weights"


def test_pickled_weights_beside_safetensors_are_ignored(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "both")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    assert resolve_model(str(directory)).weights_sha256 == hashlib.sha256(b"weights").hexdigest()


def test_weights_with_another_hash_are_refused(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "mine")
    with pytest.raises(WeightsMismatch, match="f" * 64):
        resolve_model(str(directory), weights_sha256="f" * 64)


def test_pinned_hash_is_checked_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_cache(cache)
    monkeypatch.setitem(PINNED, NAME, PinnedModel(COMMIT, weights_sha256="e" * 64))
    with pytest.raises(WeightsMismatch):
        resolve_model(NAME)


def test_shards_are_hashed_together_in_order(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "sharded")
    (directory / "model.safetensors").unlink()
    (directory / "model-00002-of-00002.safetensors").write_bytes(b"two")
    (directory / "model-00001-of-00002.safetensors").write_bytes(b"one")
    assert resolve_model(str(directory)).weights_sha256 == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    directory = write_model(tmp_path / "mine")
    (directory / missing).unlink()
    with pytest.raises(ModelNotFound, match=missing):
        resolve_model(str(directory))


@pytest.mark.parametrize("revision", [None, "main", "abc123", "AB" * 20, "v1.0"])
def test_unpinned_model_is_refused(revision: str | None) -> None:
    with pytest.raises(SettingsError, match="FIREWALL_REVISION"):
        resolve_model(NAME, revision=revision)


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "~/nowhere"])
def test_path_that_is_no_directory_is_not_taken_for_a_hub_id(path: str) -> None:
    with pytest.raises(ModelNotFound, match="not a directory"):
        resolve_model(path)


@pytest.mark.parametrize("name", ["a/b/c", "two words/model", "acme/--x", "acme/"])
def test_impossible_hub_id_is_our_own_error(name: str) -> None:
    with pytest.raises(ModelNotFound):
        resolve_model(name, revision=COMMIT, offline=True)


def test_cached_snapshot_without_weights_is_not_enough(cache: Path, make_hub: Any) -> None:
    make_hub()
    (put_into_cache(cache) / "model.safetensors").unlink()
    assert resolve_model(NAME, revision=COMMIT).origin == "hub"


def test_named_models_are_pinned() -> None:
    assert PINNED[MINILM].revision == "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    assert PINNED[SMOLLM2].revision == "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"


def test_embedded_default_has_the_pinned_weights() -> None:
    files = resolve_model(MINILM, offline=True)
    assert files.origin == "embedded"
    assert files.weights_sha256 == PINNED[MINILM].weights_sha256


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_missing_library_names_the_extra(library: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.model.torch_encoder import TruncatedModel

    monkeypatch.setitem(sys.modules, library, None)
    files = ModelFiles(tiny_bert, "tiny", None, "local", "0" * 64)
    with pytest.raises(MissingExtra, match=rf"{library}.*alknet-firewall\[torch\]"):
        TruncatedModel(files, (1,))


def test_hash_reads_files_larger_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (2 * (1 << 20) + 5))
    assert hub.sha256_of([path]) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_incomplete_snapshot_is_fetched_again(cache: Path, make_hub: Any, missing: str) -> None:
    fake = make_hub()
    (put_into_cache(cache) / missing).unlink()
    assert resolve_model(NAME, revision=COMMIT).origin == "hub"
    assert len(fake.asked) == 1


def test_incomplete_snapshot_is_not_taken_offline_either(cache: Path, embedded: Path) -> None:
    (put_into_cache(cache) / "tokenizer.json").unlink()
    assert resolve_model(NAME, offline=True).origin == "embedded"


@pytest.mark.parametrize("complete", [True, False])
def test_every_shard_of_the_index_must_be_there(cache: Path, make_hub: Any, complete: bool) -> None:
    make_hub()
    directory = put_into_cache(cache)
    (directory / "model.safetensors").unlink()
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in shards if complete else shards[:1]:
        (directory / name).write_bytes(b"shard")
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve_model(NAME, revision=COMMIT).origin == ("cache" if complete else "hub")
