"""The dinocell command and the public names of the DINOCell packages."""
