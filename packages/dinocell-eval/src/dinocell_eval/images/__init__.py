"""Label images against the truth: values per image and pooled, intervals, comparisons, strata, sweeps."""
