"""Orientation: how a camera says which way is up, in the EXIF of PNG and JPEG and in TIFF's tag of the same number.

It is not applied: see docs/decisions/0044-orientation.md.
"""

ORIENTATION_TAG = 0x0112


def orientation_note(value: object) -> tuple[str, ...]:
    """What a user should know where the tag turns the image in programs that apply it; nothing for 1 and nonsense."""
    if not isinstance(value, int) or value not in range(2, 9):
        return ()
    return (
        f"its orientation tag ({value}) is not applied: rows and columns are as stored, as Fiji, napari and QuPath "
        "show them",
    )
