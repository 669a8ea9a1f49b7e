"""The error that names a file."""


class ImageFileError(ValueError):
    """What is wrong with a file, or cannot be chosen in it; the message begins with the file's name."""


class ChoiceMissingError(ImageFileError):
    """A file holds several planes or images, and none was chosen."""
