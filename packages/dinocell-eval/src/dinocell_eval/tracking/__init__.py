"""Tracked sequences against the truth: the measures of the Cell Tracking Challenge and CHOTA."""
