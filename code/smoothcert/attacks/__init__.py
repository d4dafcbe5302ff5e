"""Attacks on smoothed classifiers, bounded in L2 (Salman et al., NeurIPS 2019)."""
