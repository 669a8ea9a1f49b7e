"""Label images: whole numbers, read, written and recognised."""
