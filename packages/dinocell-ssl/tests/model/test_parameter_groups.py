import pytest
import torch

from dinocell_core import create_backbone
from dinocell_ssl import PrototypeHead
from dinocell_ssl.model.parameter_groups import (
    Optimization,
    clip_gradients,
    create_optimizer,
    parameter_groups,
    set_rates,
)


def small_network() -> torch.nn.Module:
    with torch.device("meta"):
        backbone = create_backbone("small")
        heads = [PrototypeHead(384, num_prototypes=64, hidden_features=8, bottleneck_features=4) for _ in range(2)]
    return torch.nn.ModuleDict({"backbone": backbone, "dino_head": heads[0], "ibot_head": heads[1]})


def rates_of(groups, network):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)]: (group["rate"], group["decay"]) for group in groups for parameter in group["params"]}


def test_vit_s_has_the_published_groups_rates_and_decays():
    network = small_network()
    groups = parameter_groups(network, Optimization(layer_decay=0.9, decay_tokens=True))
    backbone = [group for group in groups if group["part"] == "backbone"]
    assert len(backbone) == 28
    assert sum(len(group["params"]) for group in backbone) == 175
    assert sum(p.numel() for g in backbone for p in g["params"] if g["decay"]) == 21_530_880
    assert sum(p.numel() for g in backbone for p in g["params"] if not g["decay"]) == 70_272
    rates = rates_of(groups, network)
    for token in ("cls_token", "storage_tokens", "mask_token"):
        assert rates[f"backbone.{token}"] == (pytest.approx(0.2541865828), 1.0)
    assert rates["backbone.patch_embed.proj.weight"] == (pytest.approx(0.0508373166), 1.0)
    assert rates["backbone.patch_embed.proj.bias"] == (pytest.approx(0.0508373166), 0.0)
    assert rates["backbone.blocks.0.attn.qkv.weight"] == (pytest.approx(0.2824295365), 1.0)
    assert rates["backbone.blocks.11.ls1.gamma"] == (pytest.approx(0.9), 0.0)
    assert rates["backbone.norm.weight"] == (1.0, 0.0)


def test_a_head_has_three_groups_of_its_own():
    groups = parameter_groups(small_network(), Optimization())
    for head in ("dino_head", "ibot_head"):
        own = [group for group in groups if group["part"] == head]
        assert [(group["decay"], group["is_last_layer"]) for group in own] == [(1.0, False), (0.0, False), (1.0, True)]
        assert {group["rate"] for group in own} == {1.0}


def test_tokens_are_not_decayed_unless_asked_for():
    network = small_network()
    rates = rates_of(parameter_groups(network, Optimization()), network)
    assert {rates[f"backbone.{token}"][1] for token in ("cls_token", "storage_tokens", "mask_token")} == {0.0}


def test_every_parameter_is_in_one_group():
    network = small_network()
    grouped = [id(p) for group in parameter_groups(network, Optimization()) for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == sum(1 for _ in network.parameters())


class Two(torch.nn.Module):
    """The least that the optimiser needs: a backbone that counts its blocks, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(2, 2)
        self.backbone.num_blocks = 1
        self.dino_head = PrototypeHead(2, num_prototypes=4, hidden_features=3, bottleneck_features=2)


def test_a_frozen_last_layer_does_not_move_and_does_not_decay():
    network = Two()
    optimizer = create_optimizer(network, Optimization())
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_rates(optimizer, learning_rate=0.1, weight_decay=0.5, last_layer_frozen=True)
    optimizer.step()
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == before.keys() - {"dino_head.last_layer.weight"}
    set_rates(optimizer, learning_rate=0.1, weight_decay=0.5, last_layer_frozen=False)
    optimizer.step()
    assert not torch.equal(network.dino_head.last_layer.weight, before["dino_head.last_layer.weight"])


def test_the_backbone_may_have_a_share_of_the_rate():
    network = Two()
    optimizer = create_optimizer(network, Optimization(layer_decay=1.0, patch_embed_factor=1.0))
    set_rates(optimizer, learning_rate=0.1, weight_decay=0.5, last_layer_frozen=False, backbone_factor=0.25)
    rates = {group["part"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"backbone": pytest.approx(0.025), "dino_head": 0.1}


def test_parts_are_clipped_apart():
    network = Two()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    network.backbone.weight.grad.fill_(100.0)
    norms = clip_gradients({"backbone": network.backbone, "dino_head": network.dino_head}, 3.0)
    assert norms["backbone"] == pytest.approx(200.0, rel=1e-3)
    assert network.backbone.weight.grad.norm() == pytest.approx(3.0, rel=1e-3)
    assert network.dino_head.last_layer.weight.grad.unique().item() == pytest.approx(1e-3)


def test_a_part_without_gradients_has_no_norm():
    network = Two()
    assert clip_gradients({"backbone": network.backbone}, 3.0) == {}
