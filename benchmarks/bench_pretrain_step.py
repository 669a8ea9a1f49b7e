"""Time of one pretraining step: ours against a plain one that follows the structure of the published code.

Timed: everything from a batch of crops in memory to the updated teacher: teacher forward, targets, student forward,
losses, backward, clipping, AdamW, moving average. Not timed: data. Both start from the same weights and must give the
same first loss (plain_pretrain_step.py says what the plain step does). Steps alternate within one process, and
processor time is compared: the machine may be busy.

    OMP_NUM_THREADS=1 python benchmarks/bench_pretrain_step.py            # small configurations, about a minute
    OMP_NUM_THREADS=1 python benchmarks/bench_pretrain_step.py --large    # ViT-S, 2 x 224 + 8 x 96, K up to 65,536
"""

import argparse
import math
import time

import torch
from plain_pretrain_step import PlainStep

from dinocell_ssl.data.batches import Batch
from dinocell_ssl.data.masking import image_masks
from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.network import create_network
from dinocell_ssl.model.parameter_groups import create_optimizer
from dinocell_ssl.model.teacher import Teacher
from dinocell_ssl.run.objective import Objective, TargetMaker
from dinocell_ssl.run.recipe import PretrainRecipe, step_rates
from dinocell_ssl.run.step import Stepper
from dinocell_ssl.watch.monitor import TrainState

SMALL = (
    {"size": "tiny", "patch": 16, "global_px": 96, "local_px": 48, "num_local": 8, "batch": 8, "prototypes": 8192},
    {"size": "tiny", "patch": 8, "global_px": 96, "local_px": 48, "num_local": 8, "batch": 4, "prototypes": 8192},
    {"size": "tiny", "patch": 8, "global_px": 96, "local_px": 48, "num_local": 8, "batch": 4, "prototypes": 65536},
)
LARGE = tuple(
    {"size": "small", "patch": patch, "global_px": 224, "local_px": 96, "num_local": 8, "batch": 4, "prototypes": k}
    for patch, k in ((16, 8192), (16, 65536), (8, 8192), (8, 65536))
)


def recipe_of(case, precision="fp32"):
    head = {"prototypes": case["prototypes"]}
    return PretrainRecipe.model_validate(
        {
            "network": {"size": case["size"], "patch": case["patch"], "in_channels": 1, "drop_path": 0.1},
            "dino_head": head,
            "ibot_head": head,
            "crops": {key: case[key] for key in ("global_px", "local_px", "num_local")},
            "schedule": {"steps": 1000, "batch_size": case["batch"]},
            "precision": precision,
        }
    )


def batch_of(recipe):
    generator = torch.Generator().manual_seed(0)
    crops, samples = recipe.crops, recipe.schedule.batch_size
    side = crops.global_px // recipe.network.patch
    masks = image_masks(2 * samples, (side, side), generator=generator)
    return Batch(
        0,
        torch.randn(2, samples, 1, crops.global_px, crops.global_px, generator=generator),
        torch.randn(crops.num_local, samples, 1, crops.local_px, crops.local_px, generator=generator),
        masks.unflatten(0, (2, samples)),
        (),
    )


class Ours:
    def __init__(self, recipe):
        torch.manual_seed(0)
        network, _ = create_network(recipe.network, dino_head=recipe.dino_head, ibot_head=recipe.ibot_head)
        optimizer = create_optimizer(network, recipe.optimization)
        self.recipe = recipe
        self.state = TrainState(0, network.train(), Teacher(network), optimizer, {}, None)
        self.stepper = Stepper(
            self.state,
            recipe,
            Objective(network, recipe.loss),
            targets=TargetMaker(recipe.loss, group=None),
            ranks=Ranks(),
            device=torch.device("cpu"),
        )

    def step(self, batch):
        return self.stepper.take(batch, step_rates(self.recipe, self.state.step))["loss"]


def compare(case, rounds, precision="fp32"):
    recipe = recipe_of(case, precision)
    batch = batch_of(recipe)
    sides = {"plain": PlainStep(recipe), "ours": Ours(recipe)}
    # Without random depth and positions in the first step: it is compared.
    for side in sides.values():
        student = side.student if isinstance(side, PlainStep) else side.state.student
        student.backbone.eval()
    first = {name: side.step(batch) for name, side in sides.items()}
    assert math.isclose(first["plain"], first["ours"], rel_tol=1e-5 if precision == "fp32" else 1e-2), first
    for side in sides.values():
        (side.student if isinstance(side, PlainStep) else side.state.student).train()
        side.step(batch)
    seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.process_time()
            side.step(batch)
            seconds[name].append(time.process_time() - started)
    best = {name: min(times) for name, times in seconds.items()}
    ratios = sorted(plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True))
    print(
        f"{case['size']}/{case['patch']} 2x{case['global_px']} + {case['num_local']}x{case['local_px']} "
        f"batch {case['batch']} K {case['prototypes']} {precision}: "
        f"plain {best['plain']:.2f} s, ours {best['ours']:.2f} s, "
        f"{best['plain'] / best['ours']:.2f}x (median of rounds {ratios[len(ratios) // 2]:.2f}x), "
        f"first loss {first['ours']:.4f}"
    )


def test_the_first_step_of_both_gives_the_same_loss():
    case = {"size": "tiny", "patch": 16, "global_px": 32, "local_px": 16, "num_local": 2, "batch": 4}
    compare({**case, "prototypes": 64}, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    arguments = parser.parse_args()
    for case in LARGE if arguments.large else SMALL:
        compare(case, arguments.rounds, arguments.precision)
