"""An exported encoder: a directory with everything a worker without torch needs, tied together by hashes.

::

    encoder.onnx           the truncated graph: adapter merged, projection and pooling inside
    tokenizer.json         the model's tokenizer
    codebook.safetensors   the codebook whose p-values hold for this graph
    export.json            the manifest: which belongs to which

An ONNX file is data, never code: no custom operator library is loaded and no data outside the file is read.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.codebook.format import Codebook, Sha256, load_codebook, save_codebook
from worker.errors import ExportInvalid

FORMAT_VERSION: Final = 1
MANIFEST, GRAPH, TOKENIZER, CODEBOOK = "export.json", "encoder.onnx", "tokenizer.json", "codebook.safetensors"

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
ExportDtype = Literal["float32", "int8"]


class Manifest(BaseModel):
    """What the parts of an export are."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    model: str
    weights_sha256: Sha256
    tokenizer_sha256: Sha256
    graph_sha256: Sha256
    dtype: ExportDtype
    codebook: Annotated[Fingerprint, Field(description="The codebook in the directory.")]
    exported_from: Annotated[
        Fingerprint,
        Field(
            description="The codebook whose probe and adapter are in the graph; another than `codebook` after a "
            "calibration of the exported arithmetic."
        ),
    ]
    made_with: dict[str, str] = Field(description="Versions of the libraries that made the graph.")


@dataclass(frozen=True)
class Export:
    """A directory that was checked.

    Attributes:
        directory: Where it is.
        manifest: What it says of itself.
        codebook: The codebook in it.
        graph: The ONNX file's bytes, whose hash is the manifest's.
    """

    directory: Path
    manifest: Manifest
    codebook: Codebook
    graph: bytes

    @property
    def tokenizer(self) -> Path:
        """``tokenizer.json``."""
        return self.directory / TOKENIZER


def load_export(directory: Path) -> Export:
    """Read an exported directory and check that its parts belong together.

    Raises:
        ExportInvalid: A part is missing, damaged, or belongs to another export.
        CodebookError: The codebook cannot be used.
    """
    manifest = _manifest(directory)
    codebook = load_codebook(directory / CODEBOOK)
    graph = _bytes(directory / GRAPH)
    model = codebook.header.model
    found = {
        CODEBOOK: (codebook.fingerprint, manifest.codebook),
        GRAPH: (hashlib.sha256(graph).hexdigest(), manifest.graph_sha256),
        TOKENIZER: (hashlib.sha256(_bytes(directory / TOKENIZER)).hexdigest(), manifest.tokenizer_sha256),
        f"the tokenizer of {CODEBOOK}": (model.tokenizer_sha256, manifest.tokenizer_sha256),
        f"the weights of {CODEBOOK}": (model.weights_sha256, manifest.weights_sha256),
    }
    for part, (have, want) in found.items():
        if have != want:
            raise ExportInvalid(
                f"{directory}: {part} has hash {have[:12]}, {MANIFEST} names {want[:12]}. The parts do not belong "
                "together or are damaged: run `alknet-firewall export` again."
            )
    return Export(directory, manifest, codebook, graph)


def save_export(directory: Path, graph: bytes, tokenizer: Path, codebook: Codebook, manifest: Manifest) -> Manifest:
    """Write the parts, the manifest last; return it with the hashes of what was written.

    Args:
        directory: Made if it is not there; older parts in it are replaced.
        graph: The ONNX file.
        tokenizer: ``tokenizer.json`` to copy.
        codebook: The codebook whose p-values hold for the graph.
        manifest: Its ``codebook`` and ``graph_sha256`` are filled in here.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)  # a half-written export must not look whole
    (directory / GRAPH).write_bytes(graph)
    shutil.copyfile(tokenizer, directory / TOKENIZER)
    fingerprint = save_codebook(codebook, directory / CODEBOOK)
    full = manifest.model_copy(update={"codebook": fingerprint, "graph_sha256": hashlib.sha256(graph).hexdigest()})
    (directory / MANIFEST).write_text(full.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return full


def _manifest(directory: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(_bytes(directory / MANIFEST))
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise ExportInvalid(
            f"{directory / MANIFEST}: field {'.'.join(map(str, fault['loc']))}: {fault['msg']}. Run `alknet-firewall "
            "export` again."
        ) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportInvalid(
            f"{path}: {error.strerror}. FIREWALL_EXPORT must name a directory made by `alknet-firewall export`."
        ) from None
