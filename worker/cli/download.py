"""``alknet-firewall download``: fetch a model for offline use."""

import json
from typing import Annotated

import typer

from worker.cli.console import errors_shown, out


def download(
    model: Annotated[str | None, typer.Argument(help="Hugging Face model id; default FIREWALL_MODEL.")] = None,
    revision: Annotated[str | None, typer.Option(help="40-hex commit; default the pinned one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch a model into the Hugging Face cache, so that workers can run with HF_HUB_OFFLINE=1.

    Only configuration, tokenizer and safetensors weights are fetched. Gated models: accept the licence on
    the hub and set HF_TOKEN. HF_HOME chooses the cache.
    """
    from worker.model.hub import resolve_model
    from worker.settings import load_settings

    with errors_shown():
        settings = load_settings()
        with out.status(f"looking for {model or settings.model}"):
            files = resolve_model(
                model or settings.model, revision=revision or settings.revision, offline=settings.offline
            )
    if as_json:
        found = {
            "model": files.name,
            "revision": files.revision,
            "origin": files.origin,
            "directory": str(files.directory),
            "weights_sha256": files.weights_sha256,
        }
        typer.echo(json.dumps(found))
        return
    out.print(f"{files.name}@{files.revision or 'local'} ({files.origin})", highlight=False)
    out.print(f"  directory  {files.directory}", highlight=False)
    out.print(f"  weights    sha256 {files.weights_sha256}", highlight=False)
