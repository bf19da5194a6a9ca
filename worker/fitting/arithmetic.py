"""Take a codebook's benign distributions anew, in another arithmetic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from worker.codebook.format import Codebook
from worker.fitting.dataset import LabelledText, data_files, file_sha256, held_out, read_rows, source_group
from worker.fitting.disguise import disguise
from worker.fitting.fit import Fitted, Progress, assemble, merge_strata, require_benign, without_twins
from worker.model.encoder import Encoder
from worker.model.windows import WindowTokenizer
from worker.screening.drift import MAX_LOGIT
from worker.screening.offline import score_texts


def calibration_rows(codebook: Codebook, paths: Sequence[Path], *, commercial_only: bool = False) -> list[LabelledText]:
    """Read the benign rows of files that nothing was fitted on.

    Of the very files the codebook was fitted on, as its provenance names them, these are the rows it was calibrated
    on. Of other files they are all benign rows.

    Args:
        codebook: Its provenance holds the files' hashes and the plan of the fit.
        paths: JSONL files, as for ``calibrate``.
        commercial_only: As in the fit.

    Raises:
        InvalidField: There are too few.
    """
    benign = [row for row in read_rows(paths, commercial_only=commercial_only) if row.label == 0]
    provenance: dict[str, Any] = codebook.header.provenance
    fitted = {str(entry.get("sha256")) for entry in provenance.get("data", [])}
    if fitted & {file_sha256(path) for path in data_files(paths)}:
        plan = provenance.get("plan", {})
        share = float(plan.get("calibration_share", 0.25))
        benign = without_twins([row for row in benign if held_out(row, share, "calibration")])
        benign += disguise(benign, float(plan.get("disguised_share", 0.0)))
    require_benign(benign)
    return benign


def in_arithmetic(
    codebook: Codebook,
    tokenizer: WindowTokenizer,
    encoder: Encoder,
    benign: Sequence[LabelledText],
    *,
    backend: Literal["torch", "onnx"],
    dtype: Literal["float32", "bfloat16", "int8"],
    progress: Progress,
) -> Codebook:
    """Return the codebook with distributions and golden scores of another encoder; basis, probe and adapter stay.

    Args:
        codebook: What the encoder has inside.
        tokenizer: The codebook's.
        encoder: The arithmetic to calibrate.
        benign: Texts that nothing was fitted on.
        backend: Of the encoder, for the header.
        dtype: Of the encoder, for the header.
        progress: Opens progress bars.
    """
    header = codebook.header
    scores, tokens = score_texts(encoder, tokenizer, [row.text for row in benign], progress)
    groups, numbers = np.unique([source_group(row) for row in benign], return_inverse=True)
    golden, _ = score_texts(encoder, tokenizer, header.golden.texts)
    changed = header.model_copy(
        update={
            "model": header.model.model_copy(update={"backend": backend, "dtype": dtype}),
            "strata": merge_strata(tokens, header.strata),
            "groups": tuple(str(group) for group in groups),
            "golden": header.golden.model_copy(update={"tolerance": MAX_LOGIT}),
            "provenance": header.provenance
            | {"arithmetic": {"from": codebook.fingerprint, "benign_calibration": len(benign)}},
        }
    )
    fitted = Fitted(codebook.basis, codebook.probe, codebook.adapter)
    return assemble(changed, fitted, scores, tokens, numbers, golden)
