"""An image, whatever its format: pixels, channels, planes, scenes."""
