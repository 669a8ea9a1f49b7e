"""The whole objective of one (micro-)batch: teacher's logits, targets, and the student's losses."""

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
        self,
        global_crops: GlobalCrops,
        local_crops: LocalCrops,
        masks: Masks,
        dino_targets: Float[Tensor, "2 sample prototype"] | None = None,
        ibot_targets: Float[Tensor, "masked_patch patch_prototype"] | None = None,
        share: float = 1.0,
        spread_gradient: Float[Tensor, "2 sample spread_feature"] | None = None,
        step: int = 0,
        local_weight: float | None = None,
        anchor_tokens: Float[Tensor, "image patch anchor_feature"] | None = None,
        gram_weight: float = 0.0,
        clamp_negatives: bool = False,
    ) -> Losses | Float[Tensor, "2 sample spread_feature"]:
        """Losses of a (micro-)batch that is `share` of the step's samples; without targets the features to spread.

        These are what the term that spreads sees of the global crops: for KoLeo their class tokens, for SIGReg what
        the DINO head's MLP makes of them. The same random state gives the same with targets and without.

        The term is that of these samples, unless `spread_gradient` holds its gradient on these features from all
        micro-batches (see `spread_gradient`); it then counts in the gradient of `total`, not in its value. `step`
        draws the directions of SIGReg. `local_weight` is that of the recipe if None. `anchor_tokens` are what the
        Gram loss compares the patch tokens of the (partly masked) global crops with, all of them.
        """
        settings, network = self._loss, self.network
        spread_name, spread_weight = settings.spread
        features = self._features(global_crops, local_crops, masks)
        global_tokens = features[0]["x_norm_clstoken"]
        class_tokens = global_tokens.unflatten(0, (2, -1))
        num_global = len(global_tokens)
        if dino_targets is None or ibot_targets is None:
            tokens = network.dino_head.mlp(global_tokens) if spread_name == "sigreg" else global_tokens
            return tokens.unflatten(0, (2, -1))
        projected = network.dino_head.mlp(torch.cat([one["x_norm_clstoken"] for one in features]))
        logits = network.dino_head.last_layer(network.dino_head.normalized(projected))
        to_spread = projected[:num_global].unflatten(0, (2, -1)) if spread_name == "sigreg" else class_tokens
        global_logits = logits[:num_global].unflatten(0, (2, -1))
        dino_global = dino_loss(
            global_logits,
            dino_targets,
            temperature=settings.student_temperature,
            ignore_same_crop=True,
            chunk_elements=settings.chunk_elements,
        )
        dino_local = dino_global.new_zeros(())
        if len(local_crops):
            dino_local = dino_loss(
                logits[num_global:].unflatten(0, (len(local_crops), -1)),
                dino_targets,
                temperature=settings.student_temperature,
                chunk_elements=settings.chunk_elements,
            )
        ibot = self._ibot(features[0]["x_norm_patchtokens"], masks, ibot_targets)
        shares = crop_shares(2, len(local_crops))
        local = settings.local if local_weight is None else local_weight
        dino = shares.global_crops * dino_global + local * shares.local_crops * dino_local
        total = share * (settings.dino * dino + settings.ibot * ibot)
        spread = total.new_zeros(())
        if spread_gradient is not None:
            agreement = (to_spread.float() * spread_gradient).sum()
            total = total + agreement - agreement.detach()
        elif spread_weight > 0:
            spread = self.spread(to_spread, step=step)
            total = total + share * spread_weight * spread
        gram = total.new_zeros(())
        if anchor_tokens is not None:
            gram = gram_loss(features[0]["x_norm_patchtokens"], anchor_tokens, clamp_negatives=clamp_negatives)
            total = total + share * gram_weight * gram
        return Losses(
            total,
            dino_global.detach(),
            dino_local.detach(),
            ibot.detach(),
            spread.detach(),
            gram.detach(),
            class_tokens.detach(),
            global_logits.detach(),
        )

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

    def _features(self, global_crops: Tensor, local_crops: Tensor, masks: Tensor) -> list[dict[str, Tensor]]:
        images, image_masks = [global_crops.flatten(0, 1)], [masks]
        if len(local_crops):
            images.append(local_crops.flatten(0, 1))
            return self.network.backbone.forward_features(images, [*image_masks, None])
        return self.network.backbone.forward_features(images, image_masks)

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
