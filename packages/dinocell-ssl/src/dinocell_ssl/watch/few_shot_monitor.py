"""Few-shot segmentation during a run: what the teacher's backbone is worth to a decoder."""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dinocell_ssl.backbones.backbone_file import save_backbone
from dinocell_ssl.probes.few_shot import FewShotTrainer
from dinocell_ssl.watch.monitor import TrainState
from dinocell_ssl.watch.probe_monitor import ProbeWarning
from dinocell_ssl.watch.teacher_backbone import teacher_backbone


@dataclass(frozen=True, kw_only=True)
class FewShotTask:
    """What a trainer must know: the labelled images, a folder to make and work in, and the backbone's architecture."""

    dataset: Path
    work: Path
    size: str
    patch: int
    precision: Literal["fp32", "bf16"]
    device: str


MakeTrainer = Callable[[FewShotTask], FewShotTrainer]


@dataclass
class FewShotMonitor:
    """Logs `few_shot_<n>`, the score of a decoder on the teacher's backbone, and `few_shot_<n>_random`, measured once.

    `make` returns the trainer for a folder that it creates and that is removed after each reading. The same
    `num_images` images are labelled at every reading, so that readings can be compared; they say nothing about other
    images. Training waits. An error of the trainer becomes a ProbeWarning, once; with sharded weights nothing is
    trained.
    """

    make: Callable[[Path], FewShotTrainer]
    folder: Path
    num_images: int = 10
    every: int = 10_000
    _random: float | None = field(default=None, init=False, repr=False)
    _reported: set[str] = field(default_factory=set, init=False, repr=False)

    def on_step(self, step: int, values: dict[str, float], state: TrainState) -> dict[str, float]:
        """The scores for the log."""
        backbone = teacher_backbone(state)
        if backbone is None:
            self._tell("weights cut over the ranks are not trained on during a run; probe its backbone.safetensors")
            return {}
        name = f"few_shot_{self.num_images}"
        try:
            with tempfile.TemporaryDirectory(prefix=".few_shot_", dir=self.folder) as work:
                path = Path(work) / "backbone.safetensors"
                save_backbone(path, backbone, facts={"step": step})
                train = self.make(Path(work) / "training")
                score = train(path, num_images=self.num_images, seed=0)
                if self._random is None:
                    self._random = train(None, num_images=self.num_images, seed=0)
        except (ValueError, OSError) as error:
            self._tell(str(error))
            return {}
        return {name: score, f"{name}_random": self._random}

    def _tell(self, note: str) -> None:
        if note not in self._reported:
            self._reported.add(note)
            warnings.warn(f"few-shot probe: {note}", ProbeWarning, stacklevel=3)
