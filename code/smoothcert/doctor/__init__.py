"""A look before a run: what in a configuration or a checkpoint will fail or mislead.

Each check is a function that returns findings, one line each, with what to do. torch is loaded
only where checkpoints or extra images are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smoothcert.doctor import checkpoint, configuration
from smoothcert.doctor.findings import Finding
from smoothcert.doctor.machine import Machine
from smoothcert.errors import UserError


def examine(
    paths: Sequence[Path], sigma: float | None = None, data_dir: Path | None = None
) -> list[Finding]:
    """Return what there is to say of configuration files, merged in order, or of a checkpoint.

    ``sigma`` is the noise at which the checkpoint is to be smoothed, ``data_dir`` the folder of
    its data set (default: data). Raises UserError if the arguments do not fit together.
    """
    if all(path.suffix in (".yaml", ".yml") for path in paths):
        if sigma is not None or data_dir is not None:
            raise UserError("--sigma and --data-dir are for a checkpoint: leave them out")
        return configuration.examine(paths, Machine.here())
    if len(paths) > 1:
        raise UserError("give configuration files (.yaml), or one checkpoint alone")
    return checkpoint.examine(paths[0], sigma, data_dir or Path("data"))
