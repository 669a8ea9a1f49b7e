"""What a backbone sees: neighbours, channels, rank, attention, few labels."""
