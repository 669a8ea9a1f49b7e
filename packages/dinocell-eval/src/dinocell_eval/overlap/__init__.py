"""The pixels that true and predicted objects share, and which objects match."""
