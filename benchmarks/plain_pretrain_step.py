"""One pretraining step that follows the structure of the published code, on the modules of dinocell_ssl."""

import math

import torch
import torch.nn.functional as F

from dinocell_ssl.model.network import create_network
from dinocell_ssl.model.parameter_groups import PARTS, parameter_groups, set_rates
from dinocell_ssl.run.recipe import step_rates


class PlainStep:
    """Student, teacher and optimiser; `step` takes a `dinocell_ssl.data.batches.Batch` and returns the loss.

    Lists of crops run as one concatenated sequence through every linear layer, sine and cosine are rebuilt in every
    block, prefix tokens are cut off and joined for the rotation, Sinkhorn's matrix is written anew in every iteration,
    and cross-entropies are of whole log-softmax arrays; optimiser and average are PyTorch's multi-tensor ones.
    """

    def __init__(self, recipe):
        torch.manual_seed(0)
        make = lambda: create_network(recipe.network, dino_head=recipe.dino_head, ibot_head=recipe.ibot_head)[0]  # noqa: E731
        self.student = make().train()
        self.teacher = make().eval().requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.optimizer = torch.optim.AdamW(parameter_groups(self.student, recipe.optimization), lr=0.0)
        self.recipe, self.count = recipe, 0

    def step(self, batch):
        rates = step_rates(self.recipe, self.count)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss = self.loss(batch, rates)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for part in PARTS:
            parameters = getattr(self.student, part).parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optimization.clip_norm)
        set_rates(
            self.optimizer,
            learning_rate=rates.learning_rate,
            weight_decay=rates.weight_decay,
            last_layer_frozen=rates.last_layer_frozen,
        )
        self.optimizer.step()
        with torch.no_grad():
            old, new = list(self.teacher.parameters()), list(self.student.parameters())
            torch._foreach_mul_(old, rates.momentum)
            torch._foreach_add_(old, new, alpha=1 - rates.momentum)
        self.count += 1
        return loss.item()

    def loss(self, batch, rates):
        recipe = self.recipe
        samples = recipe.schedule.batch_size
        crops, local = batch.global_crops.flatten(0, 1), batch.local_crops.flatten(0, 1)
        masks = batch.masks.flatten(2).flatten(0, 1)
        indices = masks.flatten().nonzero().flatten()
        num_masked = masks.sum(dim=1)
        weights = num_masked.float().reciprocal().repeat_interleave(num_masked)  # each image's masked patches weigh 1
        with torch.no_grad():
            (tokens,) = forward_list(self.teacher.backbone, [crops], [None])
            taught = sinkhorn_as_written(self.teacher.dino_head(tokens[:, 0]), rates.teacher_temperature)
            patches = tokens[:, 5:].flatten(0, 1).index_select(0, indices)
            patch_taught = sinkhorn_as_written(self.teacher.ibot_head(patches), rates.teacher_temperature)
        tokens, local_tokens = forward_list(self.student.backbone, [crops, local], [masks, None])
        cls, local_cls = tokens[:, 0], local_tokens[:, 0]
        logits, local_logits = self.student.dino_head(cls), self.student.dino_head(local_cls)
        patch_logits = self.student.ibot_head(tokens[:, 5:].flatten(0, 1).index_select(0, indices))
        taught = taught.unflatten(0, (2, samples))
        num_local = len(batch.local_crops)
        pairs = 2 + 2 * num_local
        dino = 2 / pairs * cross_entropy_of_crops(logits.unflatten(0, (2, samples)), taught, ignore_diagonal=True)
        dino = dino + 2 * num_local / pairs * cross_entropy_of_crops(
            local_logits.unflatten(0, (num_local, samples)), taught
        )
        ibot = -torch.sum(patch_taught * F.log_softmax(patch_logits.float() / 0.1, dim=-1), dim=-1)
        ibot = (ibot * weights).sum() / len(masks)
        koleo = sum(plain_koleo(one) for one in cls.chunk(2))
        return dino + ibot + 0.1 * koleo


def forward_list(backbone, images, masks):
    sequences, grids = [], []
    for x, mask in zip(images, masks, strict=True):
        patches = backbone.patch_embed(x)
        grids.append(patches.shape[1:3])
        patches = patches.flatten(1, 2)
        if mask is not None:
            patches = torch.where(mask.unsqueeze(-1), backbone.mask_token.to(patches.dtype).unsqueeze(0), patches)
        cls = backbone.cls_token + 0 * backbone.mask_token
        prefix = [cls.expand(len(x), -1, -1), backbone.storage_tokens.expand(len(x), -1, -1)]
        sequences.append(torch.cat([*prefix, patches], dim=1))
    for block in backbone.blocks:
        ropes = [rebuilt_rope(backbone, *grid) for grid in grids]
        sequences = branch_list(block, sequences, lambda xs, r, b=block: attention_list(b, xs, r), ropes)
        sequences = branch_list(block, sequences, lambda xs, r, b=block: ffn_list(b, xs), ropes)
    return [backbone.norm(x) for x in sequences]


def branch_list(block, sequences, branch, ropes):
    if not (block.training and block.drop_path > 0):
        return [x + y for x, y in zip(sequences, branch(sequences, ropes), strict=True)]
    kept = [max(int(len(x) * (1 - block.drop_path)), 1) for x in sequences]
    chosen = [torch.randperm(len(x))[:count] for x, count in zip(sequences, kept, strict=True)]
    branches = branch([x[rows] for x, rows in zip(sequences, chosen, strict=True)], ropes)
    return [
        torch.index_add(x, 0, rows, y, alpha=len(x) / count)
        for x, rows, y, count in zip(sequences, chosen, branches, kept, strict=True)
    ]


def attention_list(block, sequences, ropes):
    normed = [block.norm1(x) for x in sequences]
    attention = block.attn
    qkvs = split_like(attention.qkv(flattened(normed)), normed)
    outs = []
    for qkv, rope in zip(qkvs, ropes, strict=True):
        batch, tokens, dim = qkv.shape
        heads = attention.num_heads
        q, k, v = qkv.reshape(batch, tokens, 3, heads, dim // 3 // heads).unbind(2)
        q, k, v = (one.transpose(1, 2) for one in (q, k, v))
        q, k = rotated(q, rope), rotated(k, rope)
        outs.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, dim // 3))
    return [block.ls1(x) for x in split_like(attention.proj(flattened(outs)), outs)]


def ffn_list(block, sequences):
    normed = [block.norm2(x) for x in sequences]
    return [block.ls2(x) for x in split_like(block.mlp(flattened(normed)), normed)]


def flattened(sequences):
    return torch.cat([x.flatten(0, -2) for x in sequences])


def split_like(flat, sequences):
    parts = torch.split_with_sizes(flat, [x.shape[0] * x.shape[1] for x in sequences])
    return [part.reshape(*x.shape[:-1], -1) for part, x in zip(parts, sequences, strict=True)]


def rebuilt_rope(backbone, height, width):
    periods = backbone.rope_embed.periods
    y = torch.arange(0.5, height) / height
    x = torch.arange(0.5, width) / width
    coordinates = 2 * torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1) - 1
    if backbone.training:
        coordinates = coordinates * torch.empty(1).uniform_(-math.log(2), math.log(2)).exp()
    angles = (2 * math.pi * coordinates[:, :, None] / periods[None, None, :]).flatten(1, 2).tile(2)
    return torch.sin(angles), torch.cos(angles)


def rotated(x, rope):
    sin, cos = rope
    prefix = x.shape[-2] - sin.shape[-2]
    patches = x[:, :, prefix:, :]
    first, second = patches.chunk(2, dim=-1)
    patches = patches * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat((x[:, :, :prefix, :], patches), dim=-2)


def sinkhorn_as_written(logits, temperature):
    q = torch.exp(logits.float() / temperature).t()
    samples, prototypes = q.shape[1], q.shape[0]
    q /= torch.sum(q)
    for _ in range(3):
        q /= torch.sum(q, dim=1, keepdim=True)
        q /= prototypes
        q /= torch.sum(q, dim=0, keepdim=True)
        q /= samples
    q *= samples
    return q.t()


def cross_entropy_of_crops(logits, targets, *, ignore_diagonal=False):
    students, samples = logits.shape[:2]
    teachers = len(targets)
    log_probabilities = F.log_softmax(logits.float() / 0.1, dim=-1)
    if not ignore_diagonal:
        return -torch.einsum("sbk,tbk->", log_probabilities, targets) / (samples * students * teachers)
    losses = -torch.einsum("sbk,tbk->st", log_probabilities, targets)
    losses = torch.diagonal_scatter(losses, losses.new_zeros(min(students, teachers)))
    return losses.sum() / (samples * students * teachers - samples * min(students, teachers))


def plain_koleo(features):
    x = F.normalize(features.float(), eps=1e-8)
    with torch.no_grad():
        dots = (x @ x.t()).fill_diagonal_(-1)
        neighbors = dots.max(dim=1).indices
    return -torch.log(F.pairwise_distance(x, x[neighbors], 2, 1e-8) + 1e-8).mean()
