import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinocell_core import create_dinocell_model, file_sha256, load_model, read_model_metadata, save_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_dinocell_model("tiny", decoder_channels=(16, 16, 8, 8), stem_channels=(4, 4, 8, 8)).eval()


@pytest.fixture
def path(model, tmp_path):
    save_model(tmp_path / "model.safetensors", model, metadata={"thresholds": {"peak": 0.5, "fill": 0.1}})
    return tmp_path / "model.safetensors"


def test_a_loaded_model_predicts_the_same_bits(model, path):
    image = torch.randn(1, 1, 32, 32)
    assert torch.equal(load_model(path)(image), model(image))


def test_metadata_comes_back_with_format_and_software_version(path):
    loaded = load_model(path)
    assert loaded.metadata["thresholds"] == {"peak": 0.5, "fill": 0.1}
    assert read_model_metadata(path)["architecture"]["size"] == "tiny"
    assert {"format", "format_version", "software_version"} <= loaded.metadata.keys()


def test_half_precision_files_are_half_the_size_and_load_as_float32(model, path, tmp_path):
    half = tmp_path / "half.safetensors"
    save_model(half, model, dtype=torch.float16)
    assert half.stat().st_size < 0.51 * path.stat().st_size
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(load_model(half)(image), model(image), rtol=0, atol=5e-3)
    stored = load_file(half)
    assert stored["stem.levels.0.0.norm.running_var"].dtype == torch.float32
    assert stored["backbone.rope_embed.periods"].dtype == torch.float32


def test_whoever_may_read_new_files_may_read_a_model_file(model, tmp_path):
    save_model(tmp_path / "model.safetensors", model)
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nowhere"):
        load_model(tmp_path / "nowhere.safetensors")


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_model(path)


def test_a_pickle_is_refused_and_never_executed(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="never executed"):
        load_model(path)


def test_safetensors_of_something_else_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a DINOCell model"):
        load_model(tmp_path / "other.safetensors")


def changed(path, *, tensors=None, facts=None):
    state = load_file(path)
    header = {**read_model_metadata(path), **(facts or {})}
    del header["metadata_sha256"], header["weights_sha256"]  # as of a file of before there were checksums
    save_file({**state, **(tensors or {})}, path, metadata={"dinocell": json.dumps(header)})


def test_a_file_with_an_extra_tensor_is_refused(path):
    changed(path, tensors={"intruder": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"unexpected \['intruder'\]"):
        load_model(path)


def test_a_file_with_a_tensor_of_another_shape_is_refused(path):
    changed(path, tensors={"decoder.head.bias": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"decoder.head.bias has shape \(2,\), expected \(1,\)"):
        load_model(path)


def test_a_file_of_a_newer_format_says_what_to_update(path):
    changed(path, facts={"format_version": 99})
    with pytest.raises(ValueError, match=r"version 99; .* update dinocell-core"):
        load_model(path)


def test_a_file_with_an_unknown_architecture_is_refused(path):
    changed(path, facts={"architecture": {"size": "gigantic"}})
    with pytest.raises(ValueError, match="does not describe an architecture that this software knows"):
        load_model(path)


def test_a_failed_save_leaves_the_old_file(model, path):
    before = file_sha256(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        save_model(path, model, metadata={"score": float("nan")})
    assert file_sha256(path) == before


def flipped(path, found: bytes, *, at: int = 0) -> None:
    """Change one bit of the file, where these bytes are in it."""
    content = bytearray(path.read_bytes())
    place = content.find(found)
    assert place > 0, "test invalid: the file does not hold these bytes"
    content[place + at] ^= 1
    path.write_bytes(content)


def test_a_weight_that_was_changed_is_refused(model, path):
    flipped(path, model.state_dict()["decoder.head.weight"].numpy().tobytes(), at=1)
    with pytest.raises(ValueError, match="its weights do not match their checksum; copy it again"):
        load_model(path)


def test_a_threshold_that_was_changed_is_refused(path):
    flipped(path, b"0.5", at=2)
    with pytest.raises(ValueError, match="its metadata do not match their checksum"):
        read_model_metadata(path)


def test_metadata_that_are_not_json_are_refused(path):
    save_file(load_file(path), path, metadata={"dinocell": "{"})
    with pytest.raises(ValueError, match="is damaged: its metadata are not JSON"):
        load_model(path)


def test_a_model_saved_again_has_the_checksums_of_what_it_holds(path, tmp_path):
    loaded = load_model(path)
    assert not {"metadata_sha256", "weights_sha256"} & loaded.metadata.keys()
    save_model(tmp_path / "again.safetensors", loaded, metadata={**read_model_metadata(path), "score": 1})
    assert load_model(tmp_path / "again.safetensors").metadata["score"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_loaded(model, path, value):
    before = file_sha256(path)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.decoder.head.bias.fill_(value)
    with pytest.raises(ValueError, match=r"was not written: 1 tensor.*decoder\.head\.bias"):
        save_model(path, broken)
    assert file_sha256(path) == before
    changed(path, tensors={"decoder.head.bias": torch.full((1,), value)})
    with pytest.raises(ValueError, match=r"not finite in 1 tensors \(decoder\.head\.bias first\)"):
        load_model(path)


def test_weights_too_large_for_half_precision_are_not_written(model, tmp_path):
    large = copy.deepcopy(model)
    with torch.no_grad():
        large.decoder.head.bias.fill_(1e6)
    with pytest.raises(ValueError, match="not finite in float16"):
        save_model(tmp_path / "half.safetensors", large, dtype=torch.float16)
    assert not (tmp_path / "half.safetensors").exists()
