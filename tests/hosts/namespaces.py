"""Several hosts on one machine: network namespaces of Linux, joined by cables that can be cut."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
SERVER = "10.77.0.1"
"""The server's address, which every host reaches by its own cable."""


class NotAllowedError(Exception):
    """Namespaces cannot be made here; the message says why."""


def _ip(*words: str) -> None:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotAllowedError("there is no `ip`: install iproute2") from None
    if done.returncode != 0:
        raise NotAllowedError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Network:
    """A server and hosts around it, each a namespace of its own; nothing leads outside."""

    def __init__(self, *hosts: str) -> None:
        """Make them.

        Raises:
            NotAllowedError: this machine does not let us; nothing is left behind.
        """
        self.mark = f"adpo{os.getpid()}"
        self.hosts: list[str] = []
        try:
            self._make("server")
            _ip("-n", self.name("server"), "address", "add", f"{SERVER}/32", "dev", "lo")
            for number, host in enumerate(hosts, 1):
                self._make(host)
                self._join(host, number)
        except NotAllowedError:
            self.close()
            raise

    def name(self, host: str) -> str:
        """What the system calls it."""
        return f"{self.mark}-{host}"

    def _make(self, host: str) -> None:
        _ip("netns", "add", self.name(host))
        self.hosts.append(host)
        _ip("-n", self.name(host), "link", "set", "lo", "up")

    def _join(self, host: str, number: int) -> None:
        server, there = self.name("server"), self.name(host)
        _ip("-n", server, "link", "add", host, "type", "veth", "peer", "cable", "netns", there)
        for name, device, last in ((server, host, 1), (there, "cable", 2)):
            _ip("-n", name, "address", "add", f"10.77.{number}.{last}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        self._route(host, number)

    def _route(self, host: str, number: int) -> None:
        _ip("-n", self.name(host), "route", "add", SERVER, "via", f"10.77.{number}.1")

    def cut(self, host: str) -> None:
        """Pull the host's cable."""
        _ip("-n", self.name(host), "link", "set", "cable", "down")

    def mend(self, host: str) -> None:
        """Put it back."""
        _ip("-n", self.name(host), "link", "set", "cable", "up")
        self._route(host, self.hosts.index(host))

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Connections of this thread and programs it starts are on the host."""
        libc = ctypes.CDLL(None, use_errno=True)
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(Path("/var/run/netns", self.name(host)), os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise NotAllowedError(f"setns: {os.strerror(ctypes.get_errno())}")
            yield
        finally:
            libc.setns(outside, CLONE_NEWNET)
            os.close(outside)
            os.close(there)

    def close(self) -> None:
        """Remove them; what still runs there has no network any more."""
        while self.hosts:
            subprocess.run(
                ["ip", "netns", "delete", self.name(self.hosts.pop())],
                capture_output=True, check=False,
            )  # fmt: skip
