"""What a person sees of an image before a run."""
