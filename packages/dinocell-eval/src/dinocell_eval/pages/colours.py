"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008), by their meaning."""

FIRST = "#0072b2"
SECOND = "#d55e00"

CLASS_COLOURS = {
    "correct": "#009e73",
    "merged": "#cc79a7",
    "merging": "#cc79a7",
    "split": "#e69f00",
    "fragment": "#e69f00",
    "poorly outlined": "#56b4e9",
    "missed": "#d55e00",
    "spurious": "#d55e00",
    "other": "#8a8f98",
}

CLASS_MEANING = {
    "correct": "one-to-one with IoU \N{GREATER-THAN OR EQUAL TO} \N{VULGAR FRACTION ONE HALF}",
    "merged": "its majority prediction covers more than half of another cell too",
    "split": "in several predictions, none of which is the cell",
    "poorly outlined": "found, with IoU < \N{VULGAR FRACTION ONE HALF}",
    "missed": "less than half of it is covered",
    "merging": "covers more than half of two cells or more",
    "fragment": "a part of a cell that is in pieces",
    "spurious": "more than half of it is on background",
    "other": "what remains, such as a small part of a missed cell",
}
