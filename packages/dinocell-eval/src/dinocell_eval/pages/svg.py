"""Drawings as SVG text: elements, axes from numbers to pixels, and the frame that charts share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Number = int | float


def element(tag: str, *content: str, **attributes: object) -> str:
    """One element; `_` in attribute names stands for `-`, None leaves an attribute out. `content` is markup."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{written}>{''.join(content)}</{tag}>" if content else f"<{tag}{written}/>"


def tip(text: str) -> str:
    """What is shown when the pointer rests on the enclosing element, and read out by screen readers."""
    return element("title", escape(text))


def text(x: Number, y: Number, words: str, **attributes: object) -> str:
    return element("text", escape(words), x=x, y=y, **attributes)


def polyline(points: Sequence[tuple[Number, Number]], **attributes: object) -> str:
    return element("polyline", points=_points(points), fill="none", **attributes)


def polygon(points: Sequence[tuple[Number, Number]], **attributes: object) -> str:
    return element("polygon", points=_points(points), **attributes)


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` as pixels from `start` to `stop`, evenly or by their logarithm."""

    low: Number
    high: Number
    start: Number
    stop: Number
    log: bool = False

    def __call__(self, value: Number) -> Number:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (at - low) / (high - low) * (self.stop - self.start), 2)

    def ticks(self, about: int = 5) -> list[Number]:
        """Round numbers within the axis; powers of ten, with 2 and 5 where these are few, for a logarithmic one."""
        if not self.log:
            return _round_numbers(self.low, self.high, about)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        parts = (1, 2, 5) if len(decades) < 4 else (1,)
        return [part * 10.0**k for k in decades for part in parts if self.low <= part * 10.0**k <= self.high]


@dataclass(frozen=True)
class Chart:
    """The plotting area of a drawing, with room for ticks and names of axes."""

    width: Number = 640
    height: Number = 380
    left: Number = 58
    right: Number = 18
    top: Number = 14
    bottom: Number = 48

    def x_axis(self, low: Number, high: Number, *, log: bool = False) -> Axis:
        return Axis(low, high, self.left, self.width - self.right, log)

    def y_axis(self, low: Number, high: Number, *, log: bool = False) -> Axis:
        return Axis(low, high, self.height - self.bottom, self.top, log)

    def x_scale(self, axis: Axis, name: str, *, ticks: Sequence[Number] | None = None, grid: bool = False) -> str:
        parts = []
        foot = self.height - self.bottom
        for value in axis.ticks() if ticks is None else ticks:
            x = axis(value)
            parts.append(element("line", class_="grid" if grid else "tick", x1=x, x2=x, y1=foot,
                                 y2=self.top if grid else foot + 5))  # fmt: skip
            parts.append(text(x, foot + 18, tick_label(value), text_anchor="middle"))
        middle = (self.left + self.width - self.right) / 2
        parts.append(text(middle, self.height - 8, name, class_="axis", text_anchor="middle"))
        return "".join(parts)

    def y_scale(self, axis: Axis, name: str) -> str:
        parts = []
        for value in axis.ticks():
            y = axis(value)
            parts.append(element("line", class_="grid", x1=self.left, x2=self.width - self.right, y1=y, y2=y))
            parts.append(text(self.left - 8, y + 4, tick_label(value), text_anchor="end"))
        middle = (self.top + self.height - self.bottom) / 2
        parts.append(
            text(0, 0, name, class_="axis", text_anchor="middle", transform=f"translate(14 {middle}) rotate(-90)")
        )
        return "".join(parts)

    def drawing(self, *content: str, label: str) -> str:
        """The complete drawing; `label` says in words what it shows."""
        return element(
            "svg", *content, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {self.width:g} {self.height:g}",
            role="img", aria_label=label,
        )  # fmt: skip


def tick_label(value: Number) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    sign = "\N{MINUS SIGN}" if value < 0 else ""
    return sign + f"{abs(value):.10g}".removeprefix("0" if 0 < abs(value) < 1 else "")


def _round_numbers(low: Number, high: Number, about: int) -> list[Number]:
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(part * magnitude for part in (1, 2, 5, 10) if part * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _points(points: Sequence[tuple[Number, Number]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _attribute(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else escape(str(value))
