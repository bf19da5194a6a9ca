"""Endpoints declared in a file, for those who keep their configuration in version control."""

import tomllib
from pathlib import Path
from typing import Any

from worker.errors import InvalidEndpoint
from worker.webhooks.egress import EgressGuard
from worker.webhooks.endpoints import Endpoint, EndpointStore, endpoint_of


def apply_file(path: Path, store: EndpointStore, guard: EgressGuard) -> list[str]:
    """Add the endpoints of a TOML file, and change those that are there already; remove none.

    A declared endpoint has an ``id`` and may name files with its secrets: ``secret_file`` (by default a secret is
    made, which ``webhooks rotate-secret`` replaces by one that is shown) and ``routing_key_file``. Secrets of an
    endpoint that is there already stay as they are.

    Args:
        path: The file, with ``[[endpoint]]`` tables of the fields of ``Endpoint``.
        store: Where they go.
        guard: Checks the form of their URLs.

    Returns:
        The ids of the endpoints that were new.

    Raises:
        InvalidEndpoint: The file or an endpoint is wrong; nothing was changed.
        EgressRefused: A URL is not acceptable; nothing was changed.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("endpoint", [])
    except (OSError, ValueError) as error:
        raise InvalidEndpoint(f"{path}: not readable as TOML ({type(error).__name__})") from None
    declared = [_declared(path, table, guard) for table in tables]
    added = []
    for endpoint, secret, routing_key in declared:
        if store.find(endpoint.id) is None:
            store.add(endpoint, secret=secret, routing_key=routing_key)
            added.append(endpoint.id)
        else:
            store.change(endpoint)
    return added


def _declared(path: Path, table: dict[str, Any], guard: EgressGuard) -> tuple[Endpoint, str | None, str | None]:
    if "id" not in table:
        raise InvalidEndpoint(f"{path}: every endpoint of a file needs an id, so that it is found again")
    fields = dict(table)
    secrets = [_secret(path, fields.pop(f"{name}_file", None)) for name in ("secret", "routing_key")]
    endpoint = endpoint_of(fields)
    guard.check_url(endpoint.url)
    return endpoint, secrets[0], secrets[1]


def _secret(path: Path, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return (path.parent / name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidEndpoint(f"{path}: {name} cannot be read ({type(error).__name__})") from None
