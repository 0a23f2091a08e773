"""Standard output and standard error that may be closed, full, broken, or missing: no write raises.

A training is worth more than what it prints.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import IO, Any


class Stream:
    """`sys.stdout` or `sys.stderr`, whatever it is at the moment. What it cannot take is dropped.

    Attributes
    ----------
    error : Exception or None
        The first one since `leave`.
    """

    def __init__(self, name: str):
        self._name = name
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(sys, self._name), name)

    def write(self, text: str) -> int:
        """Writes text; what the stream's encoding has not is escaped."""
        stream = getattr(sys, self._name, None)
        if stream is not None:
            try:
                try:
                    stream.write(text)
                except UnicodeEncodeError as error:
                    stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            except Exception as error:
                self.error = self.error or error
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, if it can."""
        try:
            getattr(getattr(sys, self._name, None), "flush", int)()
        except Exception as error:
            self.error = self.error or error

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return bool(getattr(sys, self._name).isatty())
        except Exception:
            return False

    def say(self, text: str) -> None:
        """Writes a line, at once."""
        self.write(f"{text}\n")
        self.flush()

    def leave(self) -> Exception | None:
        """Ends a command's output, so that Python does not complain at its own end. Returns what went wrong.

        A reader that has gone away, as `head` does, is nothing wrong.
        """
        self.flush()
        error, self.error = self.error, None
        if error is None:
            return None
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(sys, self._name).fileno())
        except Exception:
            setattr(sys, self._name, None)
        return None if isinstance(error, BrokenPipeError) else error


out, err = Stream("stdout"), Stream("stderr")


def occupy() -> None:
    """Opens closed standard streams on /dev/null: a file of ours in their place would get what others print."""
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)


class Copy(threading.Thread):
    """Copies what another process prints to a file descriptor, and reads on if that takes no more.

    Attributes
    ----------
    error : OSError or None
        Why it took no more; a reader that has gone away is no error.
    """

    def __init__(self, source: IO[bytes], to: int):
        super().__init__(daemon=True)
        self._source, self._to = source, to
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        """Until the other process ends, or closes its end."""
        takes = True
        with self._source:
            while part := os.read(self._source.fileno(), 65536):
                while part and takes:
                    try:
                        part = part[os.write(self._to, part) :]
                    except OSError as error:
                        takes, self.error = False, None if isinstance(error, BrokenPipeError) else error
