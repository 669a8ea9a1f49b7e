"""`dinocell pretrain` is that of dinocell-ssl, with a trainer of decoders."""

from pathlib import Path

from dinocell.few_shot import FewShotSegmentation
from dinocell.pretrain import few_shot_trainer
from dinocell_ssl import FewShotTask, FewShotTrainer


def test_the_few_shot_probe_of_a_run_trains_by_dinocell_seg(tmp_path: Path) -> None:
    task = FewShotTask(
        dataset=tmp_path / "labelled", work=tmp_path / "work", size="tiny", patch=8, precision="bf16", device="cpu"
    )
    trainer = few_shot_trainer(task)
    assert isinstance(trainer, FewShotTrainer)
    assert trainer == FewShotSegmentation(
        dataset=tmp_path / "labelled", work=tmp_path / "work", size="tiny", patch=8, precision="bf16", device="cpu"
    )
