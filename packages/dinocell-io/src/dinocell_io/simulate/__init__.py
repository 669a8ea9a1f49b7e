"""Fields of cells with known truth."""
