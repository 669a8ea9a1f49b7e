"""Pairs of true and predicted label files from two folders, matched by name and never silently."""

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dinocell_eval.folders.result_files import BESIDE_OUR_LABELS, COMPANIONS, PREDICTED_ENDINGS, TRUTH_ENDINGS
from dinocell_io import LABEL_SUFFIXES, listed, read_splits


@dataclass(frozen=True)
class FilePair:
    """A true label file and its prediction, None where it is missing; `name` is the `file_stem` of the true file."""

    name: str
    truth: Path
    predicted: Path | None


@dataclass(frozen=True)
class Pairing:
    """Pairs sorted by name, including those without a prediction; predictions without truth; files that are not labels.

    Other files that `dinocell segment` writes beside its labels appear in none of them.
    """

    pairs: tuple[FilePair, ...]
    predicted_only: tuple[Path, ...]
    ignored: tuple[Path, ...]

    @property
    def truth_only(self) -> tuple[Path, ...]:
        return tuple(pair.truth for pair in self.pairs if pair.predicted is None)


def pair_folders(
    truth_folder: str | Path, predicted_folder: str | Path, *, names: Collection[str] | None = None
) -> Pairing:
    """Pair the label files of two folders: by equal stem, then by stem without an ending of `result_files`.

    `_labels` counts only for predictions. Overlays and distance maps beside `<stem>_labels` are left out. Other files
    beside labels are `ignored`: the image beside `<stem>_run.json`, and the image, pictures and `_seg.npy` beside
    `<stem>_cp_masks`. With `names`, only these are paired and everything else is left out. Raises ValueError if names
    are ambiguous, if nothing pairs, or if one of `names` has no true file.
    """
    truths, _ = label_files(Path(truth_folder))
    predictions, ignored = label_files(Path(predicted_folder))
    if not truths:
        raise ValueError(no_labels(Path(truth_folder)))
    if names is not None:
        truths, predictions = chosen_files(truths, predictions, names, folder=truth_folder)

    partner = {stem: predictions.pop(stem) for stem in truths if stem in predictions}
    left = by_short_name([stem for stem in truths if stem not in partner], TRUTH_ENDINGS, truth_folder)
    found = by_short_name(predictions, PREDICTED_ENDINGS, predicted_folder)
    for short in left.keys() & found.keys():
        partner[left[short]] = predictions.pop(found[short])
    if not partner:
        raise ValueError(
            f"no file of {predicted_folder} ({listed(sorted(predictions), 5) or 'none'}) has the name of one of "
            f"{truth_folder} ({listed(sorted(truths), 5) or 'none'}); expected <name> or <name>_labels for each <name>"
        )
    pairs = tuple(FilePair(stem, path, partner.get(stem)) for stem, path in sorted(truths.items()))
    return Pairing(pairs, tuple(path for _, path in sorted(predictions.items())), ignored)


def find_splits(truth_folder: Path) -> Path | None:
    """The `splits.csv` in or above a folder of true labels, None if there is none."""
    tables = (truth_folder / "splits.csv", truth_folder.absolute().parent / "splits.csv")
    return next((table for table in tables if table.is_file()), None)


def names_of_split(splits_csv: str | Path, split: str) -> frozenset[str]:
    """Names of one split in a table with the columns `name` and `split`; ValueError if there is none."""
    rows = [(name, row["split"]) for name, row in read_splits(splits_csv).items()]
    names = frozenset(name for name, its_split in rows if its_split == split)
    if not names:
        known = ", ".join(sorted({its_split for _, its_split in rows if its_split}))
        raise ValueError(f"{splits_csv} has no split {split!r}; its splits are: {known}")
    return names


def label_files(folder: Path) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """Label files by stem, and files of other programs beside them that are not labels."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; pass a folder of label images")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in LABEL_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    ours = {
        file_stem(path).removesuffix("_labels") + end
        for path in paths
        if file_stem(path).endswith("_labels")
        for end in BESIDE_OUR_LABELS
    }
    paths = [path for path in paths if file_stem(path) not in ours]
    names = {_composed(path.name) for path in paths}
    beside = {
        stem.removesuffix(ending) + companion
        for ending, companions in COMPANIONS.items()
        for stem in map(file_stem, paths)
        for companion in companions
        if stem.endswith(ending) and (ending != "_seg" or f"{stem}.npy" in names)
    }
    # the image that `dinocell segment` wrote its results beside
    beside |= {_composed(path.name.removesuffix("_run.json")) for path in folder.glob("*_run.json")}
    found: dict[str, Path] = {}
    for path in paths:
        stem = file_stem(path)
        if stem in beside:
            continue
        if stem in found:
            raise ValueError(
                f"{folder} holds {found[stem].name} and {path.name}, expected one file per name; remove one"
            )
        found[stem] = path
    return found, tuple(path for path in paths if file_stem(path) in beside)


def file_stem(path: Path) -> str:
    """The name of the image that a file belongs to, in Unicode form NFC, as some systems decompose accents."""
    return _composed(path.stem.removesuffix(".ome"))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def by_short_name(stems: Iterable[str], endings: tuple[str, ...], folder: str | Path) -> dict[str, str]:
    """Stems by their name without ending; ValueError if two of them have the same name then."""
    found: dict[str, str] = {}
    for stem in stems:
        short = _short(stem, endings)
        if short in found:
            raise ValueError(f"{folder} holds {found[short]} and {stem}, expected one file for {short}; remove one")
        found[short] = stem
    return found


def _short(stem: str, endings: tuple[str, ...]) -> str:
    for ending in endings:
        if stem.endswith(ending) and stem != ending:
            return stem.removesuffix(ending)
    return stem


def chosen_files(
    truths: dict[str, Path], predictions: dict[str, Path], names: Collection[str], *, folder: str | Path
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The true files of these names and the predictions that may be theirs; ValueError for a name without a truth."""
    names = {_composed(name) for name in names}
    short_names = by_short_name([stem for stem in truths if stem not in names], TRUTH_ENDINGS, folder)
    stem_of = {name: name if name in truths else short_names.get(name) for name in names}
    missing = [name for name, stem in stem_of.items() if stem is None]
    if missing:
        raise ValueError(f"{folder} has no label file for {listed(sorted(missing), 5)}; check the names of the split")
    kept = {stem: truths[stem] for stem in stem_of.values() if stem is not None}
    possible = kept.keys() | {_short(stem, TRUTH_ENDINGS) for stem in kept}
    return kept, {
        stem: path for stem, path in predictions.items() if {stem, _short(stem, PREDICTED_ENDINGS)} & possible
    }


def no_labels(folder: Path) -> str:
    """The message for a folder without label files."""
    hint = f"; did you mean {folder / 'masks'}?" if (folder / "masks").is_dir() else ""
    return f"{folder} holds no label images, expected files ending in {', '.join(LABEL_SUFFIXES)}{hint}"
