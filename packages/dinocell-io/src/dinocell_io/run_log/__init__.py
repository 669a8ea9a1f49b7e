"""The log of a run: lines that survive kills and full disks, a progress bar, Weights & Biases."""
