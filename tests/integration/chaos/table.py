"""What a soak came to, for people."""

from rich.table import Table

from tests.integration.chaos.soak import Soak


def table(result: Soak) -> Table:
    """Return the figures, the faults and the outcomes of a soak."""
    drawn = Table(title=f"{result.jobs} jobs in {result.seconds:.0f} s on {result.server}", show_header=False)
    for name, value in vars(result.count).items():
        drawn.add_row(name, str(value))
    for counted, prefix in ((result.faults, ""), (result.outcomes, "results: ")):
        drawn.add_section()
        for name, times in sorted(counted.items()):
            drawn.add_row(f"{prefix}{name}", str(times))
    return drawn
