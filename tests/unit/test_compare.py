"""Comparing two sets of certificates: by cell, by image, and refusals."""

import re

import numpy as np
import pandas as pd
import pytest

from smoothcert import cli, files
from smoothcert.analysis.compare import compare
from smoothcert.errors import UserError

N = 200


def table(seed, shift=0.0, images=range(N)):
    rng = np.random.default_rng(seed)
    radii = np.round(0.4 + 0.1 * rng.random(N) + shift, 4)[list(images)]
    return pd.DataFrame(
        {"idx": list(images), "label": 3, "predict": 3, "radius": radii, "correct": 1, "time": 1.0}
    )


def write(root, name, content, sigma=0.5, **protocol):
    folder = root / name
    files.make_folder(folder)
    content.to_csv(folder / "certificates.tsv", sep="\t", index=False)
    files.write_json(
        folder / "certificates.json",
        {
            "point": {"dataset": "mnist", "arch": "lenet", "sigma": sigma},
            "provenance": {},
            "shard": "1/1",
            "images": len(content),
            "protocol": {"subset": "all", "n": 1000, "alpha": 0.001, "n0": 100} | protocol,
        },
    )


@pytest.fixture
def sides(tmp_path):
    """Two folders with a cell of three seeds that differs by 0.05, and one that does not."""
    for side, shift in (("a", 0.0), ("b", 0.05)):
        for seed in range(3):
            write(tmp_path / side, f"x/seed-{seed}/c", table(seed, shift))
            write(tmp_path / side, f"y/seed-{seed}/c", table(10 * seed + (side == "b")))
    write(tmp_path / "b", "z/seed-0/c", table(1))
    return tmp_path / "a", tmp_path / "b"


def line(text, words):
    return next(one for one in text.splitlines() if words in one)


def test_cells_of_equal_paths_are_compared(sides):
    text = compare(*sides)
    x, y = text.split("x/seed-*/c: ")[1].split("y/seed-*/c: ")
    assert x.startswith("200 images, 3 and 3 seeds")
    difference, low, high = map(
        float, re.search(r"(\+0\.\d+) \[(.*), (.*)\] over seeds: differs", line(x, "ACR")).groups()
    )
    assert difference == 0.05
    assert low < 0.05 < high
    assert "no difference shown" in line(y, "ACR")
    assert "only in B: z/seed-*/c" in text
    assert "200 with a larger radius in B, 0 with a smaller one" in x


def test_the_images_that_differ_most_come_first(tmp_path):
    changed = table(0)
    changed.loc[17, ["predict", "correct"]] = (5, 0)
    changed.loc[99, "radius"] += 0.2
    write(tmp_path / "a", "seed-0", table(0))
    write(tmp_path / "b", "seed-0", changed)
    text = compare(tmp_path / "a", tmp_path / "b")
    listed = re.findall(r"image (\d+) \(label 3\).*\(([+-].*)\)", text)
    assert [image for image, _ in listed] == ["17", "99"]
    assert listed[1][1] == "+0.2000"
    assert "over images, the seeds' own error left out" in line(text, "ACR")
    assert "198 alike" in text


def test_of_equal_changes_the_first_images_are_listed(tmp_path):
    write(tmp_path / "a", "seed-0", table(0).assign(radius=0.4))
    write(tmp_path / "b", "seed-0", table(0).assign(radius=np.tile([0.5, 0.6], N // 2)))
    text = compare(tmp_path / "a", tmp_path / "b", images=20)
    assert re.findall(r"image (\d+) \(label", text) == [str(image) for image in range(1, 40, 2)]


def test_a_log_counts_with_the_images_of_the_other_side(tmp_path):
    write(tmp_path / "ours", "seed-0", table(0, images=range(0, N, 10)))
    log = tmp_path / "log.tsv"
    table(0).assign(time="0:00:01.5").to_csv(log, sep="\t", index=False)
    text = compare(tmp_path / "ours", log)
    assert "20 images, 1 and 1 seeds" in text
    assert f"{N - 20} images are in B alone and left out" in text
    assert "20 alike" in text


def test_a_log_may_stand_on_the_left(tmp_path):
    log = tmp_path / "log.tsv"
    table(0).to_csv(log, sep="\t", index=False)
    write(tmp_path / "ours", "seed-0", table(0, images=range(0, N, 10)))
    text = compare(log, tmp_path / "ours")
    assert f"{N - 20} images are in A alone and left out" in text
    assert "20 alike" in text


@pytest.mark.parametrize(("digits", "decimals"), [("3 digits", 3), ("4 decimals", 4)])
def test_beside_a_log_radii_are_rounded_as_the_logs_are(tmp_path, digits, decimals):
    ours = table(0).assign(count=999, n=1000)
    ours["radius"] += 0.00004
    write(tmp_path / "ours", "seed-0", ours)
    log = tmp_path / "log.tsv"
    published = table(0).assign(time="0:00:01.5")
    published["radius"] = ours["radius"].round(decimals)  # all lie between 0.1 and 1
    published.to_csv(log, sep="\t", index=False)
    text = compare(tmp_path / "ours", log)
    assert f"radii are rounded to {digits}" in text
    assert "200 alike" in text
    assert "a log does not tell n0, n and alpha" in text


@pytest.mark.parametrize(
    ("content", "protocol", "message"),
    [
        (table(0), {"n": 10_000}, "A has n 1000 and B 10000"),
        (table(0), {"alpha": 0.01}, "A has alpha 0.001 and B 0.01"),
        (table(0), {"mode": "evaluate"}, "A has mode fixed and B evaluate"),
        (table(0), {"n": 10}, "b/seed-0/certificates.tsv has a radius of .*, and n 10 allows 0.0"),
        (table(0), {"m": 2}, "b/seed-0 states a protocol that this version does not know"),
        (table(0, images=range(0, N, 2)), {}, "has other images"),
        (
            table(0).assign(label=4, predict=4),
            {},
            "has other labels than .*: they are of different data sets",
        ),
    ],
)
def test_what_is_not_comparable_is_refused(tmp_path, content, protocol, message):
    write(tmp_path / "a", "seed-0", table(0))
    write(tmp_path / "b", "seed-0", content, **protocol)
    with pytest.raises(UserError, match=message):
        compare(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("protocol", "message"),
    [({"n": 10_000}, "n 1000 and .*seed-1 10000"), ({"sigma": 1.0}, "sigma 0.5 and .*seed-1 1.0")],
)
def test_seeds_of_a_cell_share_their_settings(tmp_path, protocol, message):
    write(tmp_path / "a", "seed-0", table(0))
    write(tmp_path / "a", "seed-1", table(1), **protocol)
    write(tmp_path / "b", "seed-0", table(2))
    with pytest.raises(UserError, match=f"seed-0 has {message}: they are no seeds of one cell"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_table_of_ours_tells_its_protocol_as_its_folder_does(tmp_path):
    write(tmp_path / "a", "seed-0", table(0))
    write(tmp_path / "b", "seed-0", table(1), n=10_000)
    with pytest.raises(UserError, match="A has n 1000 and B 10000"):
        compare(*(tmp_path / side / "seed-0" / "certificates.tsv" for side in "ab"))


def test_tables_without_a_common_image_are_refused(tmp_path):
    for name, images in (("a", range(50)), ("b", range(100, 150)), ("none", range(0))):
        table(0, images=images).to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    for other in ("b", "none"):
        with pytest.raises(UserError, match=rf"a\.tsv and .*{other}\.tsv have no image in common"):
            compare(tmp_path / "a.tsv", tmp_path / f"{other}.tsv")


def test_beside_a_single_seed_the_others_are_averaged(tmp_path):
    others = [table(seed, 0.05 * seed) for seed in range(3)]
    write(tmp_path / "a", "seed-0", table(0))
    for seed, content in enumerate(others):
        write(tmp_path / "b", f"seed-{seed}", content)
    change = np.mean([one["radius"].mean() for one in others]) - table(0)["radius"].mean()
    found = line(compare(tmp_path / "a", tmp_path / "b"), "ACR")
    assert f"difference {change:+.4f} [" in found
    assert "over images, the seeds' own error left out" in found


def test_one_image_tells_no_error(tmp_path):
    for side, shift in (("a", 0.0), ("b", 0.05)):
        write(tmp_path / side, "seed-0", table(0, shift, images=[7]))
    text = compare(tmp_path / "a", tmp_path / "b")
    assert line(text, "ACR").endswith("difference +0.0500 one image tells no error")
    assert "nan" not in text


def test_modes_show_what_they_tell(tmp_path):
    """Mode radius tells no ACR, and mode evaluate takes mistakes for abstentions."""
    for side in "ab":
        write(tmp_path / side, "seed-0", table(0).assign(radius=0.4), mode="radius", radius=0.4)
        evaluated = table(0).assign(mode="evaluate")
        write(tmp_path / f"evaluated {side}", "seed-0", evaluated, mode="evaluate")
    with pytest.raises(UserError, match="certified in mode radius, which tells neither ACR nor"):
        compare(tmp_path / "a", tmp_path / "b")
    text = compare(tmp_path / "evaluated a", tmp_path / "evaluated b")
    assert "clean accuracy" in text
    assert "abstention" not in text


def test_the_command(sides, tmp_path, capsys):
    cli.main(["compare", *map(str, sides), "--images=1"])
    printed = capsys.readouterr().out
    assert printed.count("    image ") == 2
    with pytest.raises(SystemExit, match="is no table of certificates"):
        cli.main(["compare", str(sides[0]), str(tmp_path / "nowhere")])
    attacked = tmp_path / "pgd"
    attacked.mkdir()
    (attacked / "attacked.tsv").write_text("idx\tlabel\n", encoding="utf-8")
    for path in (attacked, attacked / "attacked.tsv"):
        with pytest.raises(SystemExit, match=r"is no table .* is the output of smoothcert attack:"):
            cli.main(["compare", str(sides[0]), str(path)])
    with pytest.raises(SystemExit, match="no cell in common"):
        cli.main(["compare", str(sides[0]), str(sides[1] / "z")])
    with pytest.raises(SystemExit, match="--images must be 0 or more, not -3"):
        cli.main(["compare", *map(str, sides), "--images=-3"])
