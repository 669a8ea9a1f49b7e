"""The projection head of DINO and iBOT: an MLP to a unit vector, compared with prototypes."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

PrototypeInit = Literal["published", "unit"]


class PrototypeHead(nn.Module):
    """Three linear layers with GELU between, L2 normalisation, and one bias-free layer of prototypes.

    The prototypes are not normalised, as in DINOv3. Names of parameters are the published ones (`mlp.0`, `mlp.2`,
    `mlp.4`, `last_layer`). DINO and iBOT each have a head of their own. With the defaults on 384 features it has
    22,286,592 parameters, more than the small backbone.
    """

    def __init__(
        self,
        in_features: int,
        *,
        num_prototypes: int = 65_536,
        hidden_features: int = 2048,
        bottleneck_features: int = 256,
        prototype_init: PrototypeInit = "published",
    ) -> None:
        super().__init__()
        self.prototype_init = prototype_init
        self.mlp = nn.Sequential(
            nn.Linear(in_features, hidden_features),
            nn.GELU(),
            nn.Linear(hidden_features, hidden_features),
            nn.GELU(),
            nn.Linear(hidden_features, bottleneck_features),
        )
        self.last_layer = nn.Linear(bottleneck_features, num_prototypes, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights from a normal distribution of standard deviation 0.02, biases 0; "unit" prototypes have length 1."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if self.prototype_init == "unit":
            with torch.no_grad():
                self.last_layer.weight.copy_(F.normalize(self.last_layer.weight, dim=-1))

    def bottleneck(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch bottleneck"]:
        """Unit vectors, before the prototypes."""
        return self.normalized(self.mlp(features))

    @staticmethod
    def normalized(projected: Float[Tensor, "*batch bottleneck"]) -> Float[Tensor, "*batch bottleneck"]:
        """Unit vectors of what `mlp` returned."""
        # 1e-12 is 0 in float16.
        return F.normalize(projected, dim=-1, eps=1e-6 if projected.dtype == torch.float16 else 1e-12)

    def forward(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch prototype"]:
        """Logits of the prototypes: 4 bytes x samples x prototypes, half that in bfloat16."""
        return self.last_layer(self.bottleneck(features))
