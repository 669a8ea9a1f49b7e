import hashlib
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dinocell import doctor as doctor_module
from dinocell.doctor import Finding, doctor, examine, gpu_without_cuda, package, processor_flags, weights


def run(*words: str) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(words))


def weights_folder(folder: Path, *, content: bytes = b"weights", sha256: str | None = None) -> Path:
    (folder / "default.safetensors").write_bytes(content)
    expected = sha256 or hashlib.sha256(b"weights").hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"default.safetensors": {"sha256": expected}}))
    return folder


def test_every_part_of_the_installation_is_looked_at() -> None:
    findings = {finding.subject: finding for finding in examine()}
    for subject in ("python", "dinocell-seg", "dinocell-kernels", "torch", "kernels", "processor", "device"):
        assert subject in findings
    assert findings["kernels"].status == "ok"
    assert "compiler" in findings["kernels"].found
    assert "threads" in findings["processor"].found


def test_whole_weights_are_ok(tmp_path: Path) -> None:
    (finding,) = weights(weights_folder(tmp_path))
    assert finding.status == "ok"
    assert "as in the manifest" in finding.found


@pytest.mark.parametrize(
    ("content", "expected"), [(b"weights cut sho", "not as in the manifest"), (None, "is missing")]
)
def test_damaged_or_missing_weights_are_broken_with_a_fix(tmp_path: Path, content: bytes | None, expected: str) -> None:
    weights_folder(tmp_path, content=content or b"")
    if content is None:
        (tmp_path / "default.safetensors").unlink()
    (finding,) = weights(tmp_path)
    assert finding.status == "broken"
    assert expected in finding.found
    assert "install dinocell-seg again" in finding.fix


def test_weights_without_a_manifest_are_broken(tmp_path: Path) -> None:
    (finding,) = weights(tmp_path)
    assert finding.status == "broken"
    assert "manifest.json is missing" in finding.found


def test_a_package_that_is_not_installed_is_broken_with_what_to_type() -> None:
    finding = package("no-such-distribution", ours=False)
    assert (finding.status, finding.fix) == ("broken", "run: pip install no-such-distribution")
    assert package("numpy", ours=False).status == "ok"


def test_a_gpu_that_torch_does_not_use_is_explained() -> None:
    assert "built without CUDA" in gpu_without_cuda("2.9.0+cpu", None).found
    assert "update the driver" in gpu_without_cuda("2.9.0", "12.8").fix


def test_processor_flags_are_read_from_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert processor_flags(file) == {"fpu", "avx2", "avx512_bf16"}
    assert processor_flags(tmp_path / "nothing") == set()


@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("note", 0), ("broken", 1)])
def test_the_exit_code_is_1_only_if_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, status: str, exit_code: int
) -> None:
    findings = [Finding("torch", status, "[1.0]", "do this"), Finding("numpy", "ok", "2.0")]
    monkeypatch.setattr(doctor_module, "examine", lambda: findings)
    result = run()
    assert result.exit_code == exit_code
    assert "[1.0]" in result.stdout
    assert "torch: do this" in result.stdout
    assert json.loads(run("--json").stdout)[0]["status"] == status
