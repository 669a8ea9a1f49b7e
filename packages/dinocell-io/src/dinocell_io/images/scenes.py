"""The choice of one image in a file that holds several."""

from collections.abc import Sequence

from dinocell_io.plural import listed
from dinocell_io.system.image_file_error import ChoiceMissingError, ImageFileError


def names_or_numbers(names: Sequence[str]) -> tuple[str, ...]:
    """The names of scenes; their numbers from 0 where one has no name or two have the same."""
    return tuple(names) if len(set(names)) == len(names) and all(names) else tuple(map(str, range(len(names))))


def chosen_scene(uri: str, names: Sequence[str], scene: str | int | None, details: Sequence[str] = ()) -> int:
    """The index of the scene of that name or index (from 0); the only one needs no choice.

    A name comes first: a scene named "1" is chosen by "1", whatever its index.
    Raises ValueError, with the list, if several come without a choice or the choice is not one of them.
    """
    if scene is None and len(names) == 1:
        return 0
    if isinstance(scene, str) and scene in names:
        return list(names).index(scene)
    if scene is not None and str(scene).isdecimal() and int(scene) < len(names):
        return int(scene)
    described = [
        f"{name} ({detail})" if detail else name
        for name, detail in zip(names, details or [""] * len(names), strict=True)
    ]
    there = listed(described, 12, "; ")
    if scene is None:
        raise ChoiceMissingError(
            f"{uri} holds {len(names)} images: {there}. Choose one with scene=, on the command line --scene, "
            "by name or by index from 0"
        )
    raise ImageFileError(f"{uri} has no scene {scene!r}; it holds {there}")
