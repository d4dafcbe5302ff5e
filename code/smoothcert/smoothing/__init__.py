"""Randomized smoothing (Cohen et al., ICML 2019): votes under noise, bounds, certificates."""
