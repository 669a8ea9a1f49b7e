import pytest
import torch

from dinocell_core import resolve_device


def machine(monkeypatch: pytest.MonkeyPatch, *, num_cuda: int = 0, has_mps: bool = False) -> None:
    """A machine with so many GPUs, on which nothing may be allocated."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("memory of the device was taken")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    monkeypatch.setattr(torch, "empty", refuse)


@pytest.mark.parametrize(
    ("num_cuda", "has_mps", "chosen"), [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, num_cuda: int, has_mps: bool, chosen: str
) -> None:
    machine(monkeypatch, num_cuda=num_cuda, has_mps=has_mps)
    assert resolve_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_is_taken_by_name_or_as_it_is(device: str | torch.device) -> None:
    assert resolve_device(device) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_there_is_chosen_without_its_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, num_cuda=2)
    assert resolve_device(name) == torch.device(name)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, num_cuda=2)
    with pytest.raises(ValueError, match=r"no device 'cuda:2'; torch .* sees 2 of type cuda, use cuda:0 to cuda:1"):
        resolve_device("cuda:2")


def test_a_name_torch_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="'gpu' is not a device; use auto, cpu, cuda, cuda:1 or mps"):
        resolve_device("gpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch)
    kind = name.split(":", 1)[0]
    with pytest.raises(ValueError, match=f"sees no {kind} device; use --device cpu, or run 'dinocell doctor'"):
        resolve_device(name)


@pytest.mark.parametrize("device", ["meta", "xla", "hpu"])
def test_a_device_torch_knows_but_cannot_use_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f"cannot work on the device '{device}'.*; use auto, cpu, cuda, cuda:1 or mps"):
        resolve_device(device)
