import torch

from smoothcert.augment import crop_flip


def test_every_copy_is_a_shift_or_its_mirror_image_and_all_occur():
    image = torch.arange(1, 1 + 6 * 6, dtype=torch.uint8).view(1, 1, 6, 6)
    copies = crop_flip(image.expand(4000, 1, 6, 6), torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image, [4] * 4)[0]
    possible = {}
    for top in range(9):
        for left in range(9):
            crop = padded[:, top : top + 6, left : left + 6]
            possible[tuple(crop.flatten().tolist())] = (top, left, False)
            possible[tuple(crop.flip(2).flatten().tolist())] = (top, left, True)
    seen = [possible[tuple(copy.flatten().tolist())] for copy in copies]
    assert len(set(seen)) == len(set(possible.values()))
    assert abs(sum(flipped for *_, flipped in seen) / 4000 - 0.5) < 0.05


def test_channels_move_together():
    image = torch.rand(2, 1, 8, 8).expand(2, 3, 8, 8)
    copies = crop_flip(image, torch.Generator().manual_seed(1))
    assert torch.equal(copies[:, 0], copies[:, 2])
