"""Where bytes come from, local or in a bucket, and how that fails."""
