"""``activedpo up``: every part of ActiveDPO on one machine, started, watched and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from app.settings import Settings, get_settings
from app.stack import process
from app.stack.home import HomeLock, StackState, forget_state, load_state, make_private
from app.stack.part import Log, Part, command_part, say
from app.stack.postgres import Postgres
from app.stack.redis import Redis
from app.stack.web import BACKLOG, bind

IMPATIENT_SECONDS = 1.5
READY_SECONDS = 60


class Supervisor:
    """The stack of one HOME.

    With ``work`` there is no web server, and the stack ends when the work does; an error of it is
    raised then. Ends on SIGINT, SIGTERM and SIGHUP; a second signal a while later kills what is
    left. If the supervisor itself is killed, Linux ends every part (see :mod:`app.stack.launch`).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        demo: bool = False,
        work: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.demo = demo
        self._work = work
        self._failure: BaseException | None = None
        self.stopping = threading.Event()
        self._first_signal = 0.0
        self.servers: list[Part] = []
        self.parts: list[Part] = []
        self._closing = ExitStack()
        self._listening: socket.socket | None = None
        self.state = StackState(os.getpid(), "", "", f"http://{settings.host}:{settings.port}")

    def run(self) -> None:
        """Run until a signal comes.

        Raises:
            HomeInUseError, PortTakenError, PartFailedError, PostgresError, RedisError: it cannot
                start; whatever had started has ended.
        """
        home = self.settings.home
        lock = HomeLock(home)
        self._closing.callback(lock.release)
        with self._closing:
            if self._work is None:
                self._listening = self._closing.enter_context(
                    bind(self.settings.host, self.settings.port)
                )
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._on_signal)
            self._logs = make_private(home / "logs")
            dead_workers = self._forget_previous(home)
            self._closing.callback(forget_state, home)
            self._closing.callback(self._end_all)
            self._start(home, dead_workers)
            if self._work is not None:
                threading.Thread(target=self._do_work, args=(self._work,), daemon=True).start()
            self._watch()
        if self._failure is not None:
            raise self._failure

    def _do_work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failure = error
        finally:
            self.stopping.set()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.stopping.is_set():
            self._first_signal = now
            self.stopping.set()
            say("up", f"{signal.Signals(number).name}: stopping every part")
        elif now - self._first_signal > IMPATIENT_SECONDS:
            for part in [*self.parts, *self.servers]:
                if part.child is not None:
                    process.kill_group(part.child, signal.SIGKILL)

    def _forget_previous(self, home: Path) -> list[int]:
        """See off what a killed supervisor left; the process ids its workers had."""
        previous = load_state(home)
        if previous is None:
            return []
        pids = previous.pids
        process.see_off([(pid, previous.born.get(name, 0)) for name, pid in pids.items()])
        forget_state(home)
        return [pid for name, pid in pids.items() if name == "worker"]

    def _start(self, home: Path, dead_workers: list[int]) -> None:
        self.state.database_url = self.settings.database_url or self._start_postgres(home)
        self.state.redis_url = self.settings.redis_url or self._start_redis(home)
        self._adopt_environment()
        if self.stopping.is_set():
            return
        from app.stack import bootstrap

        credentials = bootstrap.credentials(self.settings, home)
        bootstrap.publish(credentials)
        bootstrap.migrate()
        for pid in dead_workers:
            self._free_leases(pid)
        self._start_own()
        if self._work is not None:
            return
        self._await_web()
        if not self.stopping.is_set():
            for line in credentials.banner(self.state.address):
                say("up", line)

    def _adopt_environment(self) -> None:
        """What this process and its parts read from now on."""
        os.environ["ACTIVEDPO_DATABASE_URL"] = self.state.database_url
        os.environ["ACTIVEDPO_REDIS_URL"] = self.state.redis_url
        os.environ["ACTIVEDPO_HOME"] = str(self.settings.home)
        os.environ["ACTIVEDPO_HOST"] = self.settings.host
        os.environ["ACTIVEDPO_PORT"] = str(self.settings.port)
        os.environ["ACTIVEDPO_DEMO"] = "1" if self.demo else "0"
        os.environ["PYTHONUNBUFFERED"] = "1"
        get_settings.cache_clear()
        self.state.save(self.settings.home)

    def _log(self, name: str) -> Log:
        log = Log(name, self._logs)
        self._closing.callback(log.close)
        return log

    def _server(self, server: Postgres | Redis) -> None:
        server.prepare()
        part = Part(
            server.name,
            lambda: server.start(subprocess.PIPE),
            self._log(server.name),
            stop_signal=server.stop_signal,
        )
        self.servers.append(part)
        part.launch()
        if part.child is not None:
            process.wait_until(server.ready, part.child, READY_SECONDS, server.name)

    def _start_postgres(self, home: Path) -> str:
        postgres = Postgres(home)
        if postgres.sockets.parent != home:
            self.state.socket_folder = str(postgres.sockets)
        self._server(postgres)
        postgres.create()
        return postgres.url()

    def _start_redis(self, home: Path) -> str:
        redis = Redis(home)
        self._server(redis)
        return redis.url()

    def _start_own(self) -> None:
        own = [sys.executable, "-m", "app.cli"]
        commands = {"web": ["serve"], "worker": ["worker"], "beat": ["beat"]}
        if self._listening is None:
            del commands["web"]
        else:
            # Ours for as long as we live: connections wait while a web process is replaced
            self._listening.listen(BACKLOG)
            commands["web"] += ["--fd", str(self._listening.fileno())]
        if self.demo:
            commands["demo"] = ["demo", "prepare"]
        for name, arguments in commands.items():
            shared = [self._listening.fileno()] if self._listening and name == "web" else []
            part = command_part(name, [*own, *arguments], os.environ, self._log(name), shared)
            part.once = name == "demo"
            if name == "web":
                part.stop_signal = signal.SIGINT  # nobody takes over: quickly
            if name == "worker":
                part.grace += self.settings.stop_seconds
            part.on_death = self._free_leases if name == "worker" else None
            self.parts.append(part)
        self._check()

    def _await_web(self) -> None:
        """Wait until the web server answers; it is started again meanwhile if it dies."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.stopping.is_set() and not self._answers():
            if time.monotonic() > deadline:
                raise process.PartFailedError(
                    f"web did not answer within {READY_SECONDS} s; see {self._logs / 'web.log'}"
                )
            self._check()
            self.stopping.wait(0.1)

    def _answers(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(  # noqa: S104
            self.settings.host, self.settings.host
        )
        try:
            url = f"http://{host}:{self.settings.port}/healthz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _watch(self) -> None:
        while not self.stopping.wait(0.2):
            self._check()

    def _check(self) -> None:
        """Start again what died, and write down who runs."""
        if self.stopping.is_set():
            return
        changed = [part for part in [*self.servers, *self.parts] if part.check()]
        if changed:
            running = [part for part in [*self.servers, *self.parts] if part.child is not None]
            self.state.pids = {part.name: part.child.pid for part in running if part.child}
            self.state.born = {name: process.born(pid) for name, pid in self.state.pids.items()}
            self.state.save(self.settings.home)

    def _free_leases(self, pid: int) -> None:
        """Give back what a dead worker held, so that its round goes on in seconds."""
        from app.database import transaction
        from app.rounds.actions import free_leases

        try:
            with transaction() as session:
                free_leases(session, f"{socket.gethostname()}:{pid}:")
        except Exception as error:  # the leases run out by themselves
            say("up", f"the leases of worker {pid} were not freed: {type(error).__name__}")

    def _end_all(self) -> None:
        """End our own parts, then the servers they need: at most 6 + 6 s, by force after."""
        self.stopping.set()
        for group in (self.parts, self.servers):
            if group:
                with ThreadPoolExecutor(len(group)) as pool:
                    list(pool.map(Part.end, group))
        say("up", "stopped")
