"""What a rank has besides its messages: how it waits, its heartbeat, signals that are held back, a server's clock."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from asysvrg.core import system
from asysvrg.distributed._link import Link
from asysvrg.distributed._message import Message
from asysvrg.distributed.server import Server

TICK = 0.05  # seconds between two looks at the clock
AWAY = 1.0  # seconds between two looks after which a rank counts as having been away itself
OFFERED, LONG = 200e-6, 1e-3  # seconds: a wait offers the core for so long, unless messages take longer than LONG


class Backoff:
    """How a rank waits for a message: "sleep" gives the core away, "yield" offers it to others, "spin" keeps it.

    A sleep takes at least 100 microseconds, and two ranks that sleep in turns lose several of them for each message. So
    "sleep" offers the core for a while first, unless messages took long lately. Then it sleeps for 50 microseconds at
    first, and for up to a millisecond later.
    """

    def __init__(self, wait: str):
        pauses: dict[str, Callable[[], bool | None]]
        pauses = {"sleep": self._pause, "yield": system.offer_core, "spin": lambda: None}
        self.pause = pauses[wait]  # returns whether it slept
        self.usual, self.offered = 0.0, OFFERED  # seconds that messages took lately; for which the core is offered
        self.reset()

    def reset(self) -> None:
        """A wait begins."""
        self.since, self.sleep = time.monotonic(), 50e-6

    def came(self) -> None:
        """The message has come, and the next wait begins."""
        now = time.monotonic()
        self.usual = usual = self.usual + (now - self.since - self.usual) / 8
        self.offered = OFFERED if usual < LONG else 0
        self.since, self.sleep = now, 50e-6

    def _pause(self) -> bool:
        if time.monotonic() < self.since + self.offered:
            system.offer_core()
            return False
        time.sleep(self.sleep)
        self.sleep = min(self.sleep * 1.5, 1e-3)
        return True


class Heartbeat:
    """A thread that acts at regular intervals, except while the main thread holds `lock` and does the same itself."""

    def __init__(self, interval: float, action: Callable[[], None]):
        self.lock, self.end = threading.Lock(), threading.Event()
        self.interval, self.action = interval, action
        self.thread = threading.Thread(target=self._beat, name="asysvrg-mpi", daemon=True)

    def _beat(self) -> None:
        while not self.end.wait(self.interval):
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
    """Holds back signals until `handle` is called: handlers are not to interrupt a change of the server's state."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Any]] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self.before = replaced_handlers(lambda *came: self.came.append(came))
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        restore_handlers(self.before)
        if error is None:
            self.handle()

    def handle(self) -> None:
        while self.came:
            number, frame = self.came.pop()
            self.before[number](number, frame)


def replaced_handlers(handler: Any) -> dict[int, Any]:
    """Sets the handler of SIGINT and SIGTERM where there is one. Returns those of before, in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    return {number: signal.signal(number, handler) for number in numbers}


def restore_handlers(before: dict[int, Any]) -> None:
    """The inverse of `replaced_handlers`."""
    for number, handler in before.items():
        signal.signal(number, handler)


class Endpoint:
    """A `Server` over a `Link`, with the real clock."""

    def __init__(self, link: Link, server: Server, ranks: range):
        self.link, self.server, self.next_tick = link, server, 0.0
        self.looked = time.monotonic()
        link.listen(ranks)

    def look(self) -> bool:
        """Takes the messages that have come. Returns whether any have."""
        came = self.link.poll()
        self._take(came)
        return bool(came)

    def wait(self, backoff: Backoff) -> None:
        """Waits for messages until the next tick of the clock, and takes them."""
        came = self.link.wait(backoff.pause, self.next_tick)
        self._take(came)
        if came:
            backoff.came()

    def _take(self, came: list[tuple[int, Message | None]]) -> None:
        now = time.monotonic()
        if now - self.looked > AWAY:
            self.server.forgive(now - self.looked, now)
        self.looked = now
        for rank, message in came:
            if message is None:
                self.server.lose(rank, "MPI has lost it")
            else:
                self.server.receive(rank, message, now)
        if now >= self.next_tick:
            self.next_tick = now + TICK
            self.server.tick(now)
