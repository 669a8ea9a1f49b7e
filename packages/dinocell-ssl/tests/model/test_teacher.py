"""The teacher follows the student as the definition says, also in half precision."""

import pytest
import torch
from torch import nn

from dinocell_ssl.model.teacher import Teacher


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))


def filled(student, value):
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(value)
    return student


def test_teacher_starts_as_a_frozen_copy_in_evaluation_mode():
    student = network()
    teacher = Teacher(student)
    assert not any(module.training for module in teacher.module.modules())
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())
    assert student.training
    for ours, theirs in zip(teacher.module.parameters(), student.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours is not theirs


def test_parameters_are_averaged_step_by_step():
    student = network()
    expected = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    teacher = Teacher(student)
    for step, momentum in enumerate((0.9, 0.5, 1.0, 0.0)):
        moved = network(seed=step + 1)
        teacher.update(moved, momentum)
        for name, parameter in moved.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach()
        for name, parameter in teacher.module.named_parameters():
            torch.testing.assert_close(parameter, expected[name])


def test_buffers_stay_those_of_the_start():
    teacher = Teacher(network())
    moved = network()
    moved(torch.randn(8, 3))
    assert not torch.equal(moved[1].running_mean, teacher.module[1].running_mean), "test invalid"
    teacher.update(moved, 0.5)
    assert not teacher.module[1].running_mean.any()


def test_half_precision_teacher_does_not_stand_still():
    weight = torch.tensor(1.0, dtype=torch.bfloat16)
    assert torch.lerp(weight, torch.tensor(2.0, dtype=torch.bfloat16), 0.001) == weight, "test invalid"
    teacher = Teacher(filled(network(), 1.0), dtype=torch.bfloat16)
    student = filled(network(), 2.0)
    for _ in range(100):
        teacher.update(student, 0.999)
    average = 2 - 0.999**100
    assert teacher.module[0].weight.dtype == torch.bfloat16
    assert float(teacher.module[0].weight[0, 0]) == pytest.approx(average, rel=2**-8)
    assert float(teacher.state_dict()["0.weight"][0, 0]) == pytest.approx(average, rel=1e-5)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_resumed_teacher_continues_exactly(dtype):
    teacher, resumed = Teacher(network(), dtype=dtype), Teacher(network(seed=5), dtype=dtype)
    teacher.update(network(seed=1), 0.97)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in teacher.state_dict().items()})
    for either in (teacher, resumed):
        either.update(network(seed=2), 0.97)
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)


def test_state_of_another_network_is_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        Teacher(network()).load_state_dict({})


def test_wrapped_student_is_refused():
    with pytest.raises(ValueError, match=r"differ in 12 parameters, first 0\.0\.bias; give the student the teacher"):
        Teacher(network()).update(nn.Sequential(network()), 0.9)


def test_momentum_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"momentum is 1.5; give a number of \[0, 1\]"):
        Teacher(network()).update(network(), 1.5)
