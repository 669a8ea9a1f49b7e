"""The command `dinocell pretrain` with the decoder training of dinocell-seg as its few-shot probe."""

from typing import TYPE_CHECKING

from dinocell_ssl import pretrain_command

if TYPE_CHECKING:
    from dinocell.few_shot import FewShotSegmentation
    from dinocell_ssl import FewShotTask


def few_shot_trainer(task: "FewShotTask") -> "FewShotSegmentation":
    """The trainer for a `FewShotTask` of dinocell-ssl; nothing heavy is imported before it is needed."""
    from dinocell.few_shot import FewShotSegmentation

    return FewShotSegmentation(
        dataset=task.dataset,
        work=task.work,
        size=task.size,
        patch=task.patch,
        precision=task.precision,
        device=task.device,
    )


pretrain = pretrain_command(few_shot=few_shot_trainer)
