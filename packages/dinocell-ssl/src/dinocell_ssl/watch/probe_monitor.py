"""Probes of the teacher during a run."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dinocell_ssl.probes.probe import ProbeField, ProbeSettings, run_probes
from dinocell_ssl.watch.monitor import TrainState
from dinocell_ssl.watch.teacher_backbone import teacher_backbone


class ProbeWarning(UserWarning):
    """Something could not be probed; training continues."""


@dataclass
class ProbeMonitor:
    """Logs `run_probes` of the teacher's backbone; training waits for it.

    `read` gives the fields and notes on those that could not be used; it is called once, at the first probe. Notes
    become warnings (ProbeWarning) once; without any field nothing is logged.
    """

    read: Callable[[], tuple[list[ProbeField], tuple[str, ...]]]
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    every: int = 1000
    _fields: Sequence[ProbeField] | None = field(default=None, init=False, repr=False)
    _reported: set[str] = field(default_factory=set, init=False, repr=False)

    def on_step(self, step: int, values: dict[str, float], state: TrainState) -> dict[str, float]:
        """The values of the probes for the log."""
        backbone = teacher_backbone(state)
        if backbone is None:
            self._report(["weights cut over the ranks are not probed during a run; probe its backbone.safetensors"])
            return {}
        if self._fields is None:
            self._fields, notes = self.read()
            self._report(notes or ("there is no field to probe on",) if not self._fields else notes)
        if not self._fields:
            return {}
        result = run_probes(backbone, self._fields, settings=self.settings)
        self._report(result.notes)
        return result.values

    def _report(self, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._reported:
                self._reported.add(note)
                warnings.warn(f"probe: {note}", ProbeWarning, stacklevel=3)
