"""The commands cache and data, and what all commands share."""
