"""Numbers of things in messages."""


def counted(number: int, thing: str) -> str:
    """The number with the noun as it follows it: "1 image", "0 images". For nouns whose plural ends with s alone."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
