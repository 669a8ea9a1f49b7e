"""The whole objective of one (micro-)batch: teacher's logits, targets, and the student's losses."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dinocell_ssl.losses.centering import centered_softmax, updated_center
from dinocell_ssl.losses.dino_loss import crop_shares, dino_loss
from dinocell_ssl.losses.gram_loss import gram_loss
from dinocell_ssl.losses.ibot_loss import masked_token_weights
from dinocell_ssl.losses.koleo_loss import koleo_loss
from dinocell_ssl.losses.prototype_loss import prototype_cross_entropy
from dinocell_ssl.losses.sigreg_loss import sigreg_loss
from dinocell_ssl.losses.sinkhorn import sinkhorn
from dinocell_ssl.model.network import SslNetwork
from dinocell_ssl.run.recipe import Loss

GlobalCrops = Float[Tensor, "2 sample channel y x"]
LocalCrops = Float[Tensor, "local_crop sample channel local_y local_x"]
Masks = Bool[Tensor, "image patch"]


class MicroBatch(NamedTuple):
    """The crops of some samples of a step, and the masks of their global crops."""

    global_crops: GlobalCrops
    local_crops: LocalCrops
    masks: Masks


class Targets(NamedTuple):
    """What the teacher makes of a micro-batch."""

    dino: Float[Tensor, "2 sample prototype"]
    ibot: Float[Tensor, "masked_patch patch_prototype"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LossRequest:
    """What the losses of a micro-batch are to be; it is `share` of the step's samples.

    `step` draws the directions of SIGReg. `local_weight` is that of the recipe if None. The loss that spreads features
    is that of these samples, unless `spread_gradient` holds its gradient on their features from all micro-batches (see
    `Objective.spread_gradient`); it then counts in the gradient of the total, not in its value. `anchor_tokens` are
    what the Gram loss compares the patch tokens of the (partly masked) global crops with, all of them.
    """

    targets: Targets
    share: float | int = 1.0
    step: int = 0
    local_weight: float | int | None = None
    spread_gradient: Float[Tensor, "2 sample spread_feature"] | None = None
    anchor_tokens: Float[Tensor, "image patch anchor_feature"] | None = None
    gram_weight: float | int = 0.0
    clamp_negatives: bool = False


class Losses(NamedTuple):
    """`total` to differentiate, its terms before their weights, and the student's class tokens and logits.

    `spread` is KoLeo or SIGReg, whichever the recipe has.
    """

    total: Float[Tensor, ""]
    dino_global: Float[Tensor, ""]
    dino_local: Float[Tensor, ""]
    ibot: Float[Tensor, ""]
    spread: Float[Tensor, ""]
    gram: Float[Tensor, ""]
    class_tokens: Float[Tensor, "2 sample feature"]
    class_logits: Float[Tensor, "2 sample prototype"]


class TargetMaker:
    """Targets from the teacher's logits of all samples of a step: Sinkhorn-Knopp over all ranks, or centred softmax.

    The centres of softmax targets move with `commit`, after a step that was taken.
    """

    def __init__(self, loss: Loss, *, group: dist.ProcessGroup | None) -> None:
        self._loss, self._group = loss, group
        self.centers: dict[str, Tensor] = {}
        self._pending: dict[str, Tensor] = {}

    @torch.no_grad()
    def targets(
        self, head: str, logits: Float[Tensor, "sample prototype"], temperature: float
    ) -> Float[Tensor, "sample prototype"]:
        """Of one head's samples ("dino" or "ibot"); each target sums to 1."""
        if self._loss.targets == "sinkhorn":
            return sinkhorn(logits, temperature, num_iterations=self._loss.sinkhorn_iterations, group=self._group)
        center = self.centers.setdefault(head, torch.zeros(logits.shape[1], device=logits.device))
        self._pending[head] = updated_center(center, logits, momentum=self._loss.center_momentum, group=self._group)
        return centered_softmax(logits, temperature, center=center)

    def commit(self) -> None:
        """Take over the centres of the last step."""
        self.centers.update(self._pending)
        self._pending = {}


class Objective(nn.Module):
    """The student with its losses: everything that uses its parameters happens in `forward`, as DDP and FSDP ask."""

    def __init__(self, network: SslNetwork, loss: Loss, *, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.network = network
        self._loss, self._group = loss, group

    def forward(
        self, part: MicroBatch, request: LossRequest | None = None
    ) -> Losses | Float[Tensor, "2 sample spread_feature"]:
        """The losses of a micro-batch; without a request, the features of its global crops that are to be spread.

        The same random state gives the same features with a request and without.
        """
        features = self._features(part)
        if request is None:
            tokens = features[0]["x_norm_clstoken"]
            is_projected = self._loss.spread[0] == "sigreg"
            return (self.network.dino_head.mlp(tokens) if is_projected else tokens).unflatten(0, (2, -1))
        return self._losses(part, features, request)

    def _losses(self, part: MicroBatch, features: list[dict[str, Tensor]], request: LossRequest) -> Losses:
        settings, head = self._loss, self.network.dino_head
        global_tokens = features[0]["x_norm_clstoken"]
        class_tokens, num_global = global_tokens.unflatten(0, (2, -1)), len(global_tokens)
        projected = head.mlp(torch.cat([one["x_norm_clstoken"] for one in features]))
        logits = head.last_layer(head.normalized(projected))
        global_logits = logits[:num_global].unflatten(0, (2, -1))
        dino_global, dino_local = self._dino(
            global_logits, logits[num_global:], request.targets.dino, num_local=len(part.local_crops)
        )
        ibot = self._ibot(features[0]["x_norm_patchtokens"], part.masks, request.targets.ibot)
        shares = crop_shares(2, len(part.local_crops))
        local = settings.local if request.local_weight is None else request.local_weight
        dino = shares.global_crops * dino_global + local * shares.local_crops * dino_local
        total = request.share * (settings.dino * dino + settings.ibot * ibot)
        is_projected = settings.spread[0] == "sigreg"
        to_spread = projected[:num_global].unflatten(0, (2, -1)) if is_projected else class_tokens
        total, spread = self._with_spread(total, to_spread, request)
        gram = total.new_zeros(())
        if request.anchor_tokens is not None:
            patch_tokens = features[0]["x_norm_patchtokens"]
            gram = gram_loss(patch_tokens, request.anchor_tokens, clamp_negatives=request.clamp_negatives)
            total = total + request.share * request.gram_weight * gram
        return Losses(
            total,
            dino_global=dino_global.detach(),
            dino_local=dino_local.detach(),
            ibot=ibot.detach(),
            spread=spread.detach(),
            gram=gram.detach(),
            class_tokens=class_tokens.detach(),
            class_logits=global_logits.detach(),
        )

    def _dino(
        self, global_logits: Tensor, local_logits: Tensor, targets: Tensor, *, num_local: int
    ) -> tuple[Tensor, Tensor]:
        """DINO of the global crops, each against the other one, and of the local crops against both."""
        temperature, chunk = self._loss.student_temperature, self._loss.chunk_elements
        of_global = dino_loss(
            global_logits, targets, temperature=temperature, ignore_same_crop=True, chunk_elements=chunk
        )
        if not num_local:
            return of_global, of_global.new_zeros(())
        local = local_logits.unflatten(0, (num_local, -1))
        return of_global, dino_loss(local, targets, temperature=temperature, chunk_elements=chunk)

    def _with_spread(self, total: Tensor, features: Tensor, request: LossRequest) -> tuple[Tensor, Tensor]:
        """`total` with the loss that spreads, and its value: 0 where only its gradient counts here."""
        weight, none = self._loss.spread[1], total.new_zeros(())
        if request.spread_gradient is not None:
            agreement = (features.float() * request.spread_gradient).sum()
            return total + agreement - agreement.detach(), none
        if weight <= 0:
            return total, none
        spread = self.spread(features, step=request.step)
        return total + request.share * weight * spread, spread

    def spread(self, features: Float[Tensor, "2 sample spread_feature"], *, step: int) -> Float[Tensor, ""]:
        """KoLeo or SIGReg, summed over both global crops; SIGReg sees both along the same directions."""
        if self._loss.spread[0] == "sigreg":
            terms = [sigreg_loss(crop, seed=step, group=self._group) for crop in features]
        else:
            size = self._loss.koleo_group
            terms = [koleo_loss(crop, group=self._group, group_size=size) for crop in features]
        return torch.stack(terms).sum()

    def spread_gradient(
        self, features: Float[Tensor, "2 sample spread_feature"], *, step: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "2 sample spread_feature"]]:
        """The term of the features of all micro-batches, and the gradient of its weighted value on them."""
        with torch.enable_grad():
            leaf = features.float().requires_grad_()
            value = self.spread(leaf, step=step)
            (gradient,) = torch.autograd.grad(self._loss.spread[1] * value, leaf)
        return value.detach(), gradient

    def _features(self, part: MicroBatch) -> list[dict[str, Tensor]]:
        """Of the masked global crops and, where there are some, of the local ones."""
        images, masks = [part.global_crops.flatten(0, 1)], [part.masks]
        if len(part.local_crops):
            images.append(part.local_crops.flatten(0, 1))
            return self.network.backbone.forward_features(images, [*masks, None])
        return self.network.backbone.forward_features(images, masks)

    def _ibot(self, patch_tokens: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
        head = self.network.ibot_head
        weights = masked_token_weights(masks) / len(masks)
        return prototype_cross_entropy(
            head.bottleneck(patch_tokens[masks]),
            head.last_layer.weight,
            targets,
            weights=weights.to(patch_tokens.device),
            temperature=self._loss.student_temperature,
            chunk_elements=self._loss.chunk_elements,
        )
