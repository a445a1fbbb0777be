"""Comparison of losses that bring two modalities into one space."""
