"""smoothcert: train, certify and compare classifiers smoothed with Gaussian noise."""

__version__ = "0.1.0"
