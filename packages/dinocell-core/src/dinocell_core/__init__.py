"""The DINOCell model: a DINOv3 vision transformer with a U-Net decoder that predicts per-cell distance maps."""
