"""What a rank has beside its messages: a thread that answers meanwhile, signals that wait, a server's clock."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from asysvrg.distributed.messages import Backoff, Message
from asysvrg.distributed.server import Server

TICK = 0.05  # seconds between two looks at the clock


class Attendant:
    """A thread that does something every now and then, unless the main thread is at it."""

    def __init__(self, every: float, action: Callable[[], None]):
        self.lock, self.end = threading.Lock(), threading.Event()
        self.every, self.action = every, action
        self.thread = threading.Thread(target=self._attend, name="asysvrg-mpi", daemon=True)

    def _attend(self) -> None:
        while not self.end.wait(self.every):
            if self.lock.acquire(blocking=False):
                try:
                    self.action()
                finally:
                    self.lock.release()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.end.set()
        if self.thread.is_alive():
            self.thread.join()


class Signals:
    """Holds back what a signal's handler does until the state of the server allows it."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Any]] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self.before[number] = signal.signal(number, lambda *came: self.came.append(came))
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self) -> None:
        while self.came:
            number, frame = self.came.pop()
            self.before[number](number, frame)


class Desk:
    """Where a server meets those who ask it."""

    def __init__(self, team: Any, ranks: range, kind: type[Server] = Server):
        self.link = team.world.to_workers()
        self.server = kind(
            ranks, self.link.send, time.monotonic(), run=team.run, lost_after=team.lost_after, ended=team.ended
        )
        self.link.listen(ranks)
        self.next_tick = 0.0

    def look(self) -> bool:
        """Takes what has come; says whether anything has."""
        came = self.link.poll()
        self._take(came)
        return bool(came)

    def wait(self, backoff: Backoff) -> None:
        """Until something comes, and takes it; or until it is time to look round."""
        came = self.link.wait(backoff.pause, self.next_tick)
        self._take(came)
        if came:
            backoff.came()

    def _take(self, came: list[tuple[int, Message | None]]) -> None:
        now = time.monotonic()
        for rank, message in came:
            if message is None:
                self.server.lose(rank, "MPI has lost it")
            else:
                self.server.receive(rank, message, now)
        if now >= self.next_tick:
            self.next_tick = now + TICK
            self.server.tick(now)


class Silence:
    """Waits until everybody has left, or was told to."""

    def __init__(self, server: Server):
        self.server = server

    @property
    def done(self) -> bool:
        return all(peer.rank in self.server.told for peer in self.server.live)

    def take(self, peer: Any, message: Message) -> None: ...

    def offer(self, peer: Any) -> None: ...

    def lose(self, peer: Any) -> None: ...
