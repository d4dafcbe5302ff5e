"""What a run takes, about, in memory and on disk."""

JOB_MEMORY = 2**30
"""Bytes of memory of a job: loaded libraries take most of them (measured: 0.8 to 0.9 GiB for digits
and MNIST on a CPU)."""

WEIGHTS = {
    "convnet8": 0.05,
    "densenet40": 0.21,
    "lenet": 0.43,
    "resnet110": 1.73,
    "resnet20": 0.27,
    "resnet50": 25.56,
}
"""Weights of a network, in millions; one that is not here is taken to have the most."""

ROW_BYTES = 100
"""Bytes of a row of a certificate table."""
