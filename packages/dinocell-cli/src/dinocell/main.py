"""The table of commands. A command's code is imported only when the command is called."""

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class Command:
    """The function of a command, or the app of a group of commands, as module:name, and one line of help."""

    target: str
    help: str


COMMANDS = {
    "segment": Command("dinocell_seg.cli:segment", "Segment images into labels, tables of cells and overlays."),
    "pretrain": Command("dinocell.pretrain:pretrain", "Pretrain a backbone on unlabelled images."),
    "probe": Command("dinocell.probe:probe", "Measure what a pretrained backbone knows, without labels or with few."),
    "export-backbone": Command(
        "dinocell_ssl.commands.export_backbone:export_backbone", "Write a backbone for transformers, dinov3 or timm."
    ),
    "train": Command("dinocell_seg.train_cli:train", "Train a model on labelled images."),
    "calibrate": Command("dinocell_seg.train_cli:calibrate", "Choose a model's thresholds on validation images."),
    "eval": Command("dinocell_eval.commands.eval:eval_command", "Compare predicted labels with the true ones."),
    "eval-sweep": Command(
        "dinocell_eval.commands.eval_sweep:sweep_command", "Map scores of saved distance maps over thresholds."
    ),
    "eval-ctc": Command(
        "dinocell_eval.commands.eval_ctc:eval_ctc_command",
        "Evaluate a tracked sequence as the Cell Tracking Challenge does.",
    ),
    "info": Command("dinocell_seg.cli:info", "Show what is in an image or in a model file."),
    "cache": Command("dinocell_io.commands.cache:app", "Show, clear or fill the cache of objects from buckets."),
    "data": Command(
        "dinocell_io.commands.data:app", "Make dataset folders; choose and copy images of public screens (JUMP)."
    ),
    "simulate": Command("dinocell.simulate:simulate", "Write a simulated field of cells with its true labels."),
    "doctor": Command("dinocell.doctor:doctor", "Check this installation and say how to fix it."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The `dinocell` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name or character that the terminal cannot show must not end a run at its last line
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    build_app(words)(words)


def build_app(words: Sequence[str]) -> typer.Typer:
    """The application for one command line; only the command that it names is imported."""
    app = typer.Typer(
        name="dinocell",
        help="Segment cells in microscope images; train, calibrate and evaluate models that do.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    called = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name != called:
            app.command(name, help=command.help)(_not_called)
            continue
        loaded = load(command.target)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, help=command.help)
        else:
            app.command(name)(loaded)
    return app


def load(target: str) -> Callable[..., Any]:
    """The function or app of a module:name address."""
    module, _, name = target.partition(":")
    loaded: Callable[..., Any] = getattr(import_module(module), name)
    return loaded


def _not_called() -> None:
    raise AssertionError("a command that the command line does not name was called")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dinocell-cli {version('dinocell-cli')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Segment cells in microscope images; train, calibrate and evaluate models that do."""
