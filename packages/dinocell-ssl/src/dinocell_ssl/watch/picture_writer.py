"""Pictures to PNG files and to Weights & Biases, in a separate thread: training never waits for them."""

import queue
import sys
import threading
import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from dinocell_io import Image, wandb_failures, write_image


class PictureWarning(UserWarning):
    """A picture was not written; training continues."""


class PictureWriter:
    """Writes pictures to `folder` as `<name>_<step>.png`, in order; a closed writer cannot be used again.

    At most `max_waiting` pictures wait; while the disk is slower than that, new ones are left out, counted in
    `num_left_out` and reported at the end. A picture that cannot be written (a full disk) gives a PictureWarning when
    the writer is used next, and has no other effect. A run of Weights & Biases that is open in this process gets each
    picture too; a picture that it refuses is reported in the same way.
    """

    def __init__(self, folder: str | Path, *, max_waiting: int = 16) -> None:
        self.folder = Path(folder)
        self.num_left_out = 0
        self._queue: queue.Queue[tuple[str, int, np.ndarray] | None] = queue.Queue(max_waiting)
        self._failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)

    def __enter__(self) -> "PictureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, name: str, picture: UInt8[np.ndarray, "y x 3"], *, step: int) -> None:
        """Hand over a picture, which must not be changed afterwards; returns at once."""
        self._tell_failures()
        if not self._thread.is_alive():
            self._thread.start()
        try:
            self._queue.put_nowait((name, step, picture))
        except queue.Full:
            self.num_left_out += 1

    def close(self) -> None:
        """Wait until everything that was handed over is written."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._tell_failures()
        if self.num_left_out:
            warnings.warn(
                f"{self.num_left_out} pictures were left out, since the disk was too slow for them; take fewer of them "
                "(monitoring.pictures_every)",
                PictureWarning,
                stacklevel=2,
            )

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            name, step, picture = item
            path = self.folder / f"{name}_{step:08d}.png"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                pixels = np.ascontiguousarray(np.moveaxis(picture, 2, 0))
                write_image(path, Image(pixels, ("red", "green", "blue"), None, True, str(path)))
            except (OSError, ValueError) as error:
                self._failures.put(f"{path} was not written: {error}")
                continue
            try:
                _send(name, path, step)
            except wandb_failures() as error:
                self._failures.put(f"{path} was not sent to Weights & Biases: {error}")

    def _tell_failures(self) -> None:
        while not self._failures.empty():
            warnings.warn(self._failures.get(), PictureWarning, stacklevel=3)


def _send(name: str, path: Path, step: int) -> None:
    wandb = sys.modules.get("wandb")  # imported only by a run that logs there
    if wandb is not None and wandb.run is not None:
        wandb.run.log({name: wandb.Image(str(path)), "step": step})
