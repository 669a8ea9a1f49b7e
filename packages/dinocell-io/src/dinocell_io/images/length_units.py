"""Units of length by the names that microscopes' files give them."""

import math

_EXPONENTS = {
    "Y": 24,
    "Z": 21,
    "E": 18,
    "P": 15,
    "T": 12,
    "G": 9,
    "M": 6,
    "k": 3,
    "h": 2,
    "da": 1,
    "": 0,
    "d": -1,
    "c": -2,
    "m": -3,
    "µ": -6,
    "μ": -6,
    "u": -6,
    "n": -9,
    "p": -12,
    "f": -15,
    "a": -18,
    "z": -21,
    "y": -24,
}
_INCH_UM = 25400.0
# as OME spells them, where Mm is a megametre and mm a millimetre
_UM_PER_SYMBOL = {
    **{f"{prefix}m": 10.0 ** (exponent + 6) for prefix, exponent in _EXPONENTS.items()},
    **dict.fromkeys(("Å", "\u212b"), 1e-4),
    "thou": _INCH_UM / 1000,
    "li": _INCH_UM / 12,
    "in": _INCH_UM,
    "ft": 12 * _INCH_UM,
    "yd": 36 * _INCH_UM,
    "mi": 63360 * _INCH_UM,
    "pt": _INCH_UM / 72,
}
_METRES = {"pico": -12, "nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1, "": 0, "kilo": 3}
_UM_PER_WORD = {
    **{
        f"{prefix}{metre}{plural}": 10.0 ** (exponent + 6)
        for prefix, exponent in _METRES.items()
        for metre in ("meter", "metre")
        for plural in ("", "s")
    },
    **dict.fromkeys(("micron", "microns", "\\u00b5m", "\\u03bcm"), 1.0),
    **dict.fromkeys(("å", "angstrom", "angstroms", "ångström"), 1e-4),
    **dict.fromkeys(("inch", "inches"), _INCH_UM),
}


def um_per_unit(name: str) -> float | None:
    """Micrometres in a unit, by its symbol or its name; None for pixels and anything else."""
    name = name.strip()
    if name in _UM_PER_SYMBOL:
        return _UM_PER_SYMBOL[name]
    lower = name.casefold().replace("μ", "µ")
    # programs that leave the case to their user: UM, Inch, Micron
    return _UM_PER_WORD.get(lower, {"um": 1.0, "µm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "in": _INCH_UM}.get(lower))


def positive(text: object, factor: float | None) -> float | None:
    """A length as a file states it, times `factor`; None if it is none, or not a positive number. 0,5 is 0.5."""
    if text is None or factor is None:
        return None
    try:
        value = float(str(text).strip().replace(",", ".")) * factor
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
