"""Comparison of losses that learn from crops of pictures without labels."""
