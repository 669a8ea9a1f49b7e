"""A pretraining run: its recipe, steps, schedules and checkpoints."""
