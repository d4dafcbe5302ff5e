"""scikit-learn's handwritten digits: 1,797 real 8x8 images, bundled with the library."""

from __future__ import annotations

from pathlib import Path

from smoothcert.datasets.base import Description, InMemory

DESCRIPTION = Description(
    title="Digits (scikit-learn)",
    channels=1,
    size=8,
    classes=10,
    train_images=1437,
    test_images=360,
    mean=(0.0,),
    std=(1.0,),
)


def load(data_dir: Path) -> InMemory:
    """Return the digits with a fixed stratified split; ``data_dir`` is not used.

    The sixteen grey levels are spread over 0..255.
    """
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        range(len(labels)), test_size=DESCRIPTION.test_images, stratify=labels, random_state=0
    )
    return InMemory(images[train], labels[train], images[test], labels[test])
