"""Collapse of self-supervised training: what to measure, when to raise an alarm, and what the alarm says.

All measures come from the batch of one step; only attention needs a forward pass of its own.
"""

import math
import statistics
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from dinocell_ssl.probes.attention import attention_entropy, attention_weights
from dinocell_ssl.probes.feature_rank import feature_variance, rankme
from dinocell_ssl.watch.monitor import CollapseError, StepOutputs, TrainState
from dinocell_ssl.watch.prototype_usage import mean_assignment, mean_entropy, prototype_usage
from dinocell_ssl.watch.teacher_backbone import teacher_backbone


class CollapseWarning(UserWarning):
    """An alarm of a run that was not asked to stop."""


@dataclass(frozen=True, kw_only=True)
class CollapseThresholds:
    """Where a healthy run ends. A run from scratch is below some of them at first: see CollapseMonitor.start_step.

    `feature_rank_share` is (RankMe - 1) / (its greatest value - 1): batches of 8 and of 64 images have one limit.
    """

    feature_variance: float = 0.005
    feature_rank_share: float = 0.02
    assignment_information: float = 0.01
    attention_entropy: float = 0.02
    loss_factor: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One cause of collapse, found at one step.

    Causes by kind: `loss`: loss_not_finite, exploding_loss; `features`: constant_features, one_direction,
    one_prototype, uniform_assignments, equal_assignments; `attention`: attention_on_one_token. The message says what
    was found and what to try.
    """

    kind: str
    cause: str
    message: str


def find_alarms(
    values: Mapping[str, float], *, usual_loss: float | None = None, thresholds: CollapseThresholds | None = None
) -> list[Alarm]:
    """Causes of collapse that show in the values of one step; values that are not given are not judged.

    `usual_loss` is the median of the readings before. Each cause is reported once, the deepest first: constant
    features make the assignments alike too, and are then the only alarm of the two.
    """
    limit = thresholds or CollapseThresholds()
    loss = values.get("loss", 0.0)
    alarms = []
    if not math.isfinite(loss):
        alarms.append(
            _alarm("loss", "loss_not_finite", f"the loss is {loss}", "lower the learning rate or train in float32")
        )
    elif usual_loss is not None and loss > limit.loss_factor * max(usual_loss, 0.0):
        alarms.append(
            _alarm(
                "loss",
                "exploding_loss",
                f"the loss is {loss:.3g}, {limit.loss_factor:g} times what was usual ({usual_loss:.3g})",
                "lower the learning rate, clip gradients lower or lengthen the warm-up",
            )
        )
    feature_alarm = _features(values, limit)
    assignment_alarm = None if feature_alarm else _assignments(values, limit)
    alarms += [alarm for alarm in (feature_alarm, assignment_alarm) if alarm]
    if values.get("attention_entropy", 1.0) < limit.attention_entropy:
        alarms.append(
            _alarm(
                "attention",
                "attention_on_one_token",
                f"the last block's attention has {values['attention_entropy']:.2%} of the greatest entropy: "
                "every patch looks at one token",
                "lower the learning rate or the weight decay at its end",
            )
        )
    return alarms


def _features(values: Mapping[str, float], limit: CollapseThresholds) -> Alarm | None:
    if values.get("feature_variance", 1.0) < limit.feature_variance:
        return _alarm(
            "features",
            "constant_features",
            f"the teacher gives all images nearly one feature vector (variance {values['feature_variance']:.2g} of 1)",
            "raise the weight of KoLeo, lower the learning rate, and look whether the crops show anything",
        )
    if values.get("feature_rank_share", 1.0) < limit.feature_rank_share:
        return _alarm(
            "features",
            "one_direction",
            f"the teacher's features vary along one direction (RankMe is {values['feature_rank_share']:.1%} "
            "of its range)",
            "raise the weight of KoLeo or use SIGReg, and enlarge the batch",
        )
    return None


def _assignments(values: Mapping[str, float], limit: CollapseThresholds) -> Alarm | None:
    if values.get("assignment_information", math.inf) >= limit.assignment_information:
        return None
    symptom = f"assignments say nothing about their image ({values['assignment_information']:.2g} nats)"
    if values.get("prototype_perplexity", math.inf) < 1.5:
        return _alarm(
            "features",
            "one_prototype",
            f"{symptom}: one prototype takes all",
            "use Sinkhorn instead of centering, or centre faster",
        )
    if values.get("teacher_entropy", 0.0) > 0.95 * values.get("uniform_entropy", math.inf):
        return _alarm(
            "features",
            "uniform_assignments",
            f"{symptom}: every image belongs to all prototypes equally",
            "keep the teacher sharp and quick (teacher.temperature [0.04, 0.04], a lower teacher.momentum) and start "
            "with prototypes of length 1 (dino_head.prototype_init and ibot_head.prototype_init unit)",
        )
    return _alarm(
        "features", "equal_assignments", f"{symptom}: all images have the same", "enlarge the batch or the prototypes"
    )


def _alarm(kind: str, cause: str, found: str, advice: str) -> Alarm:
    return Alarm(kind=kind, cause=cause, message=f"{cause.replace('_', ' ')}: {found}; {advice}")


@torch.no_grad()
def collapse_values(outputs: StepOutputs, *, max_patches: int = 1024) -> dict[str, float]:
    """Measures of one step's outputs, without another forward pass; entropies in nats.

    `teacher_entropy` and `prototype_perplexity` concern the targets, `student_entropy` its softmax. `feature_rank`
    and `feature_variance` are those of the teacher's class tokens, and are measured within each global crop, since
    the two crops of an image are meant to agree; `patch_rank` that of `max_patches` patches, evenly over all images.
    What compares images is left out for a batch of one.
    """
    crops = outputs.teacher_class_tokens
    num_samples, num_features = crops.shape[1:]
    usage = prototype_usage(outputs.dino_targets.flatten(0, 1))
    student = (outputs.student_class_logits.flatten(0, 1).float() / outputs.student_temperature).softmax(dim=1)
    patches = outputs.teacher_patch_tokens.flatten(0, 1)
    count = min(len(patches), max_patches)
    spread = torch.arange(count, device=patches.device) * len(patches) // max(1, count)
    values = {
        "teacher_entropy": usage.entropy,
        "student_entropy": mean_entropy(student),
        "uniform_entropy": math.log(outputs.dino_targets.shape[-1]),
        "prototype_perplexity": usage.perplexity,
        "patch_rank": rankme(patches[spread]),
    }
    if num_samples < 2:
        return values
    rank = statistics.fmean(rankme(tokens) for tokens in crops)
    return {
        **values,
        "assignment_information": usage.information,
        "feature_rank": rank,
        "feature_rank_share": (rank - 1) / max(1, min(num_samples, num_features) - 1),
        "feature_variance": statistics.fmean(feature_variance(tokens) for tokens in crops),
    }


@dataclass
class CollapseMonitor:
    """Logs the measures of `collapse_values` and attention entropy, and raises alarms.

    From `start_step` on, causes of one kind found at `patience` readings in a row are an alarm, named by the last
    one: with `action` "stop" it raises CollapseError, with "warn" it warns (CollapseWarning) once until it is gone.
    The line of the log then has `alarm_<cause>` = 1, `alarms` is their number. Before `start_step` nothing is judged
    but a loss that is not finite: from scratch, class tokens hardly depend on the image during the first hundreds of
    steps.

    `prototype_usage` is the share of the prototypes in use over about the last ten readings: one batch of n images
    cannot use more than some n of them. The history starts again when a run resumes. Attention is that of
    `attention_images` crops (0: not measured; nor with weights cut over the ranks).
    """

    every: int = 50
    action: Literal["warn", "stop"] = "warn"
    start_step: int = 1000
    patience: int = 3
    attention_images: int = 2
    thresholds: CollapseThresholds = field(default_factory=CollapseThresholds)
    _found: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=50), init=False, repr=False)
    _usage: torch.Tensor | None = field(default=None, init=False, repr=False)

    def on_step(self, step: int, values: dict[str, float], state: TrainState) -> dict[str, float]:
        """Measures of this step and the alarms; raises CollapseError if there is one and `action` is "stop"."""
        new = {} if state.outputs is None else self._measures(state.outputs, state)
        usual = statistics.median(self._losses) if len(self._losses) >= self.patience else None
        alarms = find_alarms({**values, **new}, usual_loss=usual, thresholds=self.thresholds)
        loss = values.get("loss", math.nan)
        if math.isfinite(loss):
            self._losses.append(loss)
        if step < self.start_step:
            alarms = [alarm for alarm in alarms if alarm.cause == "loss_not_finite"]
        lasting = self._lasting(alarms)
        self._report(step, lasting)
        return {**new, "alarms": float(len(lasting)), **{f"alarm_{alarm.cause}": 1.0 for alarm in lasting}}

    def _measures(self, outputs: StepOutputs, state: TrainState) -> dict[str, float]:
        values = collapse_values(outputs)
        mean = mean_assignment(outputs.dino_targets.flatten(0, 1))
        self._usage = mean if self._usage is None else self._usage.lerp(mean, 0.1)
        values["prototype_usage"] = math.exp(mean_entropy(self._usage[None])) / len(mean)
        backbone = teacher_backbone(state) if self.attention_images else None
        if backbone is not None:
            crops = outputs.global_crops[0, : self.attention_images].to(backbone.cls_token.dtype)
            weights = attention_weights(backbone, crops)
            values["attention_entropy"] = float(attention_entropy(weights).mean())
        return values

    def _lasting(self, alarms: Iterable[Alarm]) -> list[Alarm]:
        found = {alarm.kind: alarm for alarm in alarms}
        self._found = {kind: self._found.get(kind, 0) + 1 for kind in found}
        return [found[kind] for kind, count in self._found.items() if count >= self.patience]

    def _report(self, step: int, alarms: list[Alarm]) -> None:
        if not alarms:
            return
        if self.action == "stop":
            raise CollapseError(f"step {step}: {'. '.join(alarm.message for alarm in alarms)}")
        for alarm in alarms:
            if self._found[alarm.kind] == self.patience:  # not at every later reading
                warnings.warn(f"step {step}: {alarm.message}", CollapseWarning, stacklevel=3)
