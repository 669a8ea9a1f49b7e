"""Objects of buckets kept on this machine, within a quota, shared by processes."""
