"""The command `dinocell pretrain`; nothing heavy is imported before it runs."""

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, errors_told


def pretrain_command(few_shot: Callable[..., Any] | None = None) -> Callable[..., None]:
    """The command; `few_shot` gives the trainer for `monitoring.few_shot_folder` (`few_shot_monitor.MakeTrainer`)."""

    def pretrain(
        recipe: Annotated[
            str | None, typer.Argument(help="YAML recipe, or the name of an included one: jump_vits8, debug_cpu.")
        ] = None,
        data: Annotated[
            list[str] | None, typer.Option("--data", help="Folder of images, repeat for more; or one s3:// prefix.")
        ] = None,
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder of the run; a run in it is continued.")
        ] = Path("pretrained"),
        size: Annotated[
            str | None, typer.Option(help="Backbone: tiny, small, small_plus, base, large, large_plus, huge_plus, 7b.")
        ] = None,
        steps: Annotated[int | None, typer.Option(help="Number of steps of the run.")] = None,
        start_from: Annotated[
            Path | None, typer.Option(help="Weights to start from: a DINOv3 or DINOv2 file, or the result of a run.")
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", help="One value of the recipe, as section.key=value; repeat for more."),
        ] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
        wandb: Annotated[str | None, typer.Option(help="Weights & Biases project to log to.")] = None,
        wandb_offline: Annotated[bool, typer.Option(help="Log only to the folder, for `wandb sync` later.")] = False,
    ) -> None:
        """Pretrain a backbone on unlabelled images with any channels. The same command continues a stopped run."""
        from dinocell_core import resolve_device
        from dinocell_core.recipe import merged, read_overrides, read_recipe, validated
        from dinocell_io import StreamError, WandbSettings, check_output_folder
        from dinocell_ssl.distributed import ProcessLostError
        from dinocell_ssl.model.network import require_start
        from dinocell_ssl.run.pretrain import pretrain as run_pretraining
        from dinocell_ssl.run.recipe import PretrainRecipe, recipe_path
        from dinocell_ssl.watch.monitor import CollapseError

        with errors_told(WRONG_COMMAND_LINE):
            values: dict[str, Any] = {}
            if recipe is not None:
                values = read_recipe(recipe_path(recipe), expected="sections such as 'crops: {num_local: 8}'")
            if data:
                values = merged(values, {"data": {"folders": tuple(data)}})
            chosen: dict[str, dict[str, Any]] = {
                "network": {"size": size, "start_from": start_from},
                "schedule": {"steps": steps},
            }
            for section, settings in chosen.items():
                given = {key: value for key, value in settings.items() if value is not None}
                values = merged(values, {section: given} if given else {})
            values = merged(values, read_overrides(set_ or [], example="crops.num_local=4"))
            resolved = validated(PretrainRecipe, values)
            require_start(resolved.network)
            resolve_device(device)
            check_output_folder(output)
            resolved.data.open_cache()
            # buckets may fail for reasons that are not in the command line
            fields = None if resolved.data.is_remote else resolved.data.open()
        tracking = WandbSettings(project=wandb, mode="offline" if wandb_offline else "online") if wandb else None
        try:
            with errors_told(FAILED, CollapseError, ProcessLostError, StreamError):
                backbone = run_pretraining(
                    resolved, output, fields=fields, device=device, few_shot=few_shot, wandb=tracking
                )
        except KeyboardInterrupt as stop:  # TrainingStopped has a text and a code of its own
            typer.echo(str(stop) or "stopped; the same command continues from the last checkpoint", err=True)
            raise typer.Exit(getattr(stop, "exit_code", 130)) from stop
        network = resolved.network
        typer.echo(
            f"wrote {backbone}; train on labels from it with: dinocell train --backbone {quote(str(backbone))} "
            f"--set network.size={network.size} --set network.patch={network.patch} --data FOLDER --output RUN"
        )

    return pretrain


pretrain = pretrain_command()
