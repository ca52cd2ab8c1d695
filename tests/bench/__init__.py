"""Measurements: ours and a baseline in one run, alternating, medians, as ratios."""
