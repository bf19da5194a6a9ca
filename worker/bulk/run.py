"""Put a run together: what was asked for, what is left of an earlier sitting, and who screens."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from schemas.job import JobHeader
from worker.bulk.backend import Backend
from worker.bulk.checkpoint import RunDirectory, RunStatus, start_or_resume
from worker.bulk.chunks import JobFields, cut
from worker.bulk.output import OutputPlan, Outputs
from worker.bulk.pipeline import Flow, Pipeline, Progress
from worker.bulk.rows import Columns
from worker.bulk.sources import Input, read_inputs
from worker.bulk.tally import Tally
from worker.errors import InvalidField, RunConflict


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for.

    Attributes:
        inputs: Found already.
        columns: See ``Columns``.
        outputs: See ``OutputPlan``.
        source, policy, tenant: Of every job.
        items: Rows of a job.
        flow: See ``Flow``.
        local: No queue.
    """

    inputs: list[Input]
    columns: Columns
    outputs: OutputPlan
    source: str = "document"
    policy: str = "default"
    tenant: str | None = None
    items: int = 64
    flow: Flow = field(default_factory=Flow)
    local: bool = False

    def plan(self) -> dict[str, Any]:
        """Return what must be the same when the run is resumed."""
        return {
            "inputs": [entry.name for entry in self.inputs],
            "formats": sorted({entry.format for entry in self.inputs}),
            "columns": [self.columns.text, self.columns.id],
            "outputs": {name: str(path) for name, path in self.outputs.files().items()},
            "only_alarms": self.outputs.only_alarms,
            "job": [self.source, self.policy, self.tenant],
            "items_per_job": self.items,
            "local": self.local,
        }

    def check(self) -> None:
        """Refuse what no worker would take, before anything is written.

        Raises:
            InvalidField: A field of the jobs is wrong.
            RunConflict: An output is an input, or two outputs are one.
        """
        try:
            JobHeader.model_validate(
                {"job_id": "bulk", "source": self.source, "policy": self.policy, "tenant": self.tenant}
            )
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            name = str(fault["loc"][0])
            raise InvalidField(f"--{name}: {fault['msg']}", field=name) from None
        files = [path.resolve() for path in self.outputs.files().values()]
        read = {entry.path.resolve() for entry in self.inputs if entry.path is not None}
        if len(set(files)) < len(files) or read.intersection(files):
            raise RunConflict("an output file is also an input, or two outputs are the same file; rename one")


class Run:
    """A run in this process, locked against others.

    Args:
        request: What was asked for.
        resume, force: See ``start_or_resume``.
    """

    def __init__(self, request: Request, directory: RunDirectory, *, resume: bool, force: bool):
        request.check()
        self.request = request
        self._directory = directory
        self.checkpoint = start_or_resume(
            directory, request.plan(), request.outputs.results, resume=resume, force=force
        )
        self._pipeline: Pipeline | None = None

    @property
    def tally(self) -> Tally:
        """Figures so far."""
        if self._pipeline is not None:
            return self._pipeline.tally
        return Tally.model_validate(self.checkpoint.tally)

    def is_done(self, number: int) -> bool:
        """Whether an earlier sitting wrote a chunk."""
        return number < self.checkpoint.done_below or number in self.checkpoint.done

    def stop(self) -> None:
        """See ``Pipeline.stop``."""
        if self._pipeline is not None:
            self._pipeline.stop()

    def go(self, backend: Backend, progress: Callable[[Progress], None]) -> RunStatus:
        """Screen what is left; see ``Pipeline.run``."""
        request = self.request
        fields = JobFields(self.checkpoint.run, request.source, request.policy, request.tenant)
        outputs = Outputs(request.outputs, self.checkpoint.offsets)
        self._pipeline = Pipeline(self.checkpoint, self._directory, outputs, backend, request.flow, progress)
        rows = read_inputs(request.inputs, request.columns)
        return self._pipeline.run(cut(rows, fields, items=request.items))
