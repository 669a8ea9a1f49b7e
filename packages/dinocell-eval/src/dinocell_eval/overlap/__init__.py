"""The pixels that true and predicted objects share, and who matches whom."""
