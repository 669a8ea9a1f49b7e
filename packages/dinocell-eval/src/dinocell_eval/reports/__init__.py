"""An evaluation as printed tables and as files."""
