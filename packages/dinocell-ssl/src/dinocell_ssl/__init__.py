"""Self-supervised pretraining of the DINOCell backbone on multi-channel microscopy."""
