"""Stopping a run between two steps: a signal is noted, and the run keeps what it has first."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a queue or container, a closed terminal


class TrainingStopped(KeyboardInterrupt):
    """A run was stopped by signal `number` and can be resumed; `exit_code` is what a shell expects after it."""

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number, self.exit_code = number, 128 + number


class StopRequest:
    """Within, the first SIGINT, SIGTERM or SIGHUP is only noted, as `number`; a second is a KeyboardInterrupt at once.

    Signals that are ignored stay so. Outside of the main thread nothing is noted: Python handles signals there alone.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        os.write(2, b"stopping after this step; once more stops at once\n")


def leave_stopping_to_parent() -> None:
    """In a worker process of a run: a first signal is left to the run, which may need this worker for its last step.

    Ctrl-C, and most queues, signal the workers too. A second signal ends this process at once.
    """
    is_second = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal is_second
        if is_second:
            os._exit(128 + number)
        is_second = True

    for number in _STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, note)
