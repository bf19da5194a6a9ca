"""A toy DNS and a dialler that remembers whom it was asked to call, so that a refused address is seen uncalled."""

from collections.abc import Iterable, Mapping, Sequence

import httpcore2
from httpcore2 import MockStream, NetworkBackend, NetworkStream

from worker.webhooks.addresses import AllowList
from worker.webhooks.egress import EgressGuard

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class ToyDns:
    """Answers a name's addresses; given several answers, one after the other: a rebinding name server."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]):
        self._answers = {name: list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if not answers:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Dialler(NetworkBackend):
    """Connects to nothing, answers as told, and remembers addresses, ports and what was written."""

    def __init__(self, response: bytes = OK, dead: Iterable[str] = ()):
        self.called: list[tuple[str, int]] = []
        self.written: list[bytes] = []
        self._response, self._dead = response, set(dead)

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None) -> NetworkStream:
        self.called.append((host, port))
        if host in self._dead:
            raise httpcore2.ConnectError
        return _Recorded([self._response], self.written)


class _Recorded(MockStream):
    def __init__(self, buffer: list[bytes], written: list[bytes]):
        super().__init__(buffer)
        self._written = written

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._written.append(buffer)


def guarded(
    names: Mapping[str, Sequence[Sequence[str]]] | None = None,
    *allow: str,
    response: bytes = OK,
    dead: Iterable[str] = (),
) -> tuple[EgressGuard, ToyDns, Dialler]:
    """A guard between a toy DNS and a recording dialler."""
    dns, dialler = ToyDns(names or {}), Dialler(response, dead)
    return EgressGuard(AllowList.of(allow), dns, dialler), dns, dialler
