"""``alknet-firewall policies``: check the policy file before a worker does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.console import errors_shown, out


def policies(
    file: Annotated[Path | None, typer.Argument(help="Policy file; default FIREWALL_POLICIES.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a policy file and show what it says. Exit 78 and the place of the fault if a worker would refuse it."""
    from worker.screening.policy_file import load_rules
    from worker.settings import load_settings

    with errors_shown():
        rules = load_rules(file or load_settings().policies)
    if as_json:
        found = {
            "policies": {name: asdict(policy) for name, policy in rules.policies.items()},
            "tenants": {name: entry.model_dump() for name, entry in rules.tenants.items()},
        }
        typer.echo(json.dumps(found))
        return
    from rich.table import Table

    table = Table("policy", "signals", "budgets", "alarms", "mode")
    for name, policy in sorted(rules.policies.items()):
        budgets = "\n".join(f"{severity} {share:.4%}" for severity, share in policy.budgets.items())
        mode = "shadow" if policy.shadow else "judges"
        table.add_row(name, "\n".join(policy.signals), budgets, "\n".join(policy.alarms), mode)
    out.print(table)
    if rules.tenants:
        table = Table("tenant", "items a minute", "items a day", "policies")
        for name, entry in sorted(rules.tenants.items()):
            limits = [f"{limit:,}" if limit else "" for limit in (entry.items_per_minute, entry.items_per_day)]
            table.add_row(name, *limits, ", ".join(entry.policies or ["all"]))
        out.print(table)
