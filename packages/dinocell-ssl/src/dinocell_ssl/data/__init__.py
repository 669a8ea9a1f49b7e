"""From fields in folders or buckets to batches of crops."""
