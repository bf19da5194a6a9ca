"""``alknet-firewall worker``: run a worker process."""

from typing import Annotated, Any

import typer

from worker.cli.console import errors_shown


def worker(
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", help="Jobs in flight; default FIREWALL_CONCURRENCY.", min=1),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", "-Q", help="Queue to consume, repeatable; default FIREWALL_QUEUES."),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(help="threads (batches across jobs; recommended), solo, or prefork (a model per child)."),
    ] = "threads",
) -> None:
    """Run a worker: load the model, prove the codebook, then consume jobs until SIGTERM.

    With `--queue webhooks` it delivers webhooks instead, and needs neither model nor torch.

    SIGTERM finishes the jobs in hand and exits; give the process longer than the longest job. Run one worker
    per accelerator or per group of cores.
    """
    from tasks.roles import delivers_webhooks, install
    from worker.settings import load_settings

    with errors_shown():
        overrides: dict[str, object] = {}
        if concurrency is not None:
            overrides["concurrency"] = concurrency
        if queue:
            overrides["queues"] = queue
        settings = load_settings(**overrides)
        delivers_webhooks(settings)

    from celery import signals

    from tasks.app import create_app

    app = create_app(settings)
    install(settings)
    started: list[Any] = []
    signals.worker_init.connect(lambda sender, **_: started.append(sender), weak=False)
    app.worker_main(
        [
            "worker",
            f"--pool={pool}",
            f"--concurrency={settings.concurrency}",
            f"--queues={','.join(settings.queues)}",
            # Gossip and mingle talk to every other worker at start and serve nothing here.
            "--without-gossip",
            "--without-mingle",
        ]
    )
    # Celery keeps its exit status to itself: a worker that failed would look like one that was told to end.
    raise typer.Exit(started[0].exitcode or 0 if started else 1)
