"""The dataset folder, and published formats turned into it."""
