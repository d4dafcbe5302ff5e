"""Certification: the guarantee on a classifier whose radius is known, and tables that survive."""

import dataclasses
import errno
import json
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from smoothcert import checkpoint, datasets, files, methods, models, records
from smoothcert.analysis import metrics
from smoothcert.analysis.summary import summarize
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training
from smoothcert.smoothing import backends, evaluation, modes
from smoothcert.smoothing import certify as engine
from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.shards import Shard, merge

CPU = torch.device("cpu")
SIGMA = 0.5


class Linear(nn.Module):
    """Class 1 where the first pixel is positive: the exact radius is that pixel's value."""

    def __init__(self):
        super().__init__()
        self.specification = models.Specification("linear", 1, 2, 2, (0.0,), (1.0,))

    def forward(self, images):
        first = images.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(first), first], 1)


def test_linear_classifier_is_certified_below_its_radius(monkeypatch):
    """1,000 draws at n = 100,000 and alpha 0.001: at most 6 radii exceed the true one."""
    ratios = np.linspace(0.3, 3.2, 20)
    for size in ("chunk", "batch"):  # counts depend on them, the test does not; it is faster
        monkeypatch.setattr(backends.OpenVino, size, 10_000)
    sampler = Sampler(Linear(), SIGMA, seed=0, device=CPU)
    too_large, medians = 0, []
    for number, ratio in enumerate(ratios):
        image = torch.zeros(1, 2, 2)
        image[0, 0, 0] = ratio * SIGMA
        indices = [50 * number + draw for draw in range(50)]
        counts = sampler.counts(image.expand(50, 1, 2, 2), indices, "estimate 0", 100_000)[:, 1]
        radii = certified_radius(lower_bound(counts, 100_000, 0.001), SIGMA)
        too_large += int((radii > ratio * SIGMA).sum())
        medians.append(np.median(radii) / (ratio * SIGMA))
    assert too_large <= 6
    assert min(medians) >= 0.93
    assert min(m for m, r in zip(medians, ratios, strict=True) if 0.8 <= r <= 2.5) >= 0.97


def test_votes_that_choose_and_votes_that_estimate_are_independent_draws():
    sampler = Sampler(Linear(), SIGMA, seed=0, device=CPU)
    images, indices = torch.full((300, 1, 2, 2), 0.1), range(300)
    counts = np.stack(
        [sampler.counts(images, indices, stage, 100)[:, 1] for stage in ("choose", "estimate 0")], 1
    )
    assert abs(np.corrcoef(counts.T)[0, 1]) < 0.2
    assert (counts[:, 0] != counts[:, 1]).mean() > 0.8


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.load("digits", tmp_path_factory.mktemp("data"))


@pytest.fixture
def model(tmp_path, digits):
    return save_model(tmp_path / "model.pt", digits, seed=0)


def save_model(path, digits, seed):
    """Write an untrained but quite certain classifier as a checkpoint."""
    point = Point(
        dataset="digits", arch="convnet8", method="gaussian", sigma=0.25, weight=0, seed=seed,
        training=Training(), parameters=methods.load("gaussian")(),
    )  # fmt: skip
    torch.manual_seed(seed)
    classifier = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
    with torch.no_grad():
        classifier.network.fc2.weight.mul_(20)
    checkpoint.save(path, classifier, point, {"data": digits.checksum})
    return path


def certify(model, digits, folder, replace=False, **protocol):
    settings = Protocol(**{"subset": "every-20", "n": 1000, **protocol})
    engine.certify(checkpoint.load(model), digits, settings, folder, CPU, replace=replace)
    return records.read(folder)[0]


def rows(table):
    return table.drop(columns="time")


def test_rows_follow_from_their_counts(model, digits, tmp_path):
    table = certify(model, digits, tmp_path / "c")
    assert table["idx"].tolist() == list(range(0, 360, 20))
    assert list(table.columns[:6]) == ["idx", "label", "predict", "radius", "correct", "time"]
    for row in table.itertuples():
        assert row.label == digits.test_labels[row.idx]
        p_lower = binomtest(row.count, 1000, alternative="greater").proportion_ci(0.999).low
        assert row.p_lower == pytest.approx(p_lower, rel=1e-6)
        assert row.predict == (row.top if p_lower >= 0.5 else -1)
        assert row.correct == (row.predict == row.label)
        assert (row.radius > 0) == (row.predict != -1)
    assert (table["predict"] == -1).any()
    assert (table["predict"] != -1).any()


def test_an_image_has_the_same_counts_in_every_subset(model, digits, tmp_path):
    few = certify(model, digits, tmp_path / "few", subset="every-60")
    more = certify(model, digits, tmp_path / "more")
    common = more[more["idx"].isin(few["idx"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows(few), rows(common))


def test_the_description_records_the_protocol_and_its_origin(model, digits, tmp_path):
    certify(model, digits, tmp_path / "c")
    about = json.loads((tmp_path / "c" / "certificates.json").read_text())
    assert about["protocol"]["alpha"] == 0.001
    assert about["images"] == 18
    assert about["evaluation"]["precision"] in ("bf16", "fp32")
    assert about["evaluation"]["backend"] == "openvino"
    assert {"commit", "code", "data", "device", "torch"} <= set(about["provenance"])


class KilledError(BaseException):
    """Ends a run as a kill would: no cleaning up."""


def killed_after(monkeypatch, count, run):
    append = records.PartialTable.append

    def counted(self, certificate):
        append(self, certificate)
        if len(self.done) == count:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(records.PartialTable, "append", counted)
        run()


@pytest.mark.parametrize("torn", ["", "200\t3\t3\t0.4"])
def test_a_killed_run_continues_after_its_last_whole_row(
    model, digits, tmp_path, monkeypatch, capsys, torn
):
    whole = certify(model, digits, tmp_path / "whole")
    killed_after(monkeypatch, 7, lambda: certify(model, digits, tmp_path / "c"))
    with (tmp_path / "c" / "certificates.tsv.partial").open("a") as partial:
        partial.write(torn)
    capsys.readouterr()
    resumed = certify(model, digits, tmp_path / "c")
    assert "continuing after 7 images" in capsys.readouterr().err
    pd.testing.assert_frame_equal(rows(resumed), rows(whole))


def test_rows_of_another_model_are_set_aside(model, digits, tmp_path, monkeypatch, capsys):
    killed_after(monkeypatch, 7, lambda: certify(model, digits, tmp_path / "c"))
    save_model(model, digits, seed=1)
    table = certify(model, digits, tmp_path / "c")
    assert "set aside" in capsys.readouterr().err
    fresh = certify(model, digits, tmp_path / "fresh")
    pd.testing.assert_frame_equal(rows(table), rows(fresh))


def test_weights_that_are_replaced_meanwhile_do_not_lend_their_checksum(model, digits, tmp_path):
    loaded, before = checkpoint.load(model), files.sha256(model)
    save_model(model, digits, seed=1)
    assert files.sha256(model) != before
    engine.certify(loaded, digits, Protocol(subset="0-9", n=100), tmp_path / "c", CPU)
    _, description = records.read(tmp_path / "c")
    assert description["model"]["sha256"] == before


def test_a_model_of_other_data_is_refused(model, digits, tmp_path):
    content = checkpoint.read(model)
    content["provenance"]["data"] = "another checksum"
    checkpoint.write(model, content)
    with pytest.raises(UserError, match="trained on other digits data"):
        certify(model, digits, tmp_path / "c")


def test_subset_out_of_range(model, digits, tmp_path):
    with pytest.raises(UserError, match="beyond the 360 test images"):
        certify(model, digits, tmp_path / "c", subset="300-360")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "17 rows for 18 images"),
        (lambda lines: [*lines, lines[-1]], "1 duplicate rows"),
        (lambda lines: [line.replace("radius", "size") for line in lines], "no column radius"),
        (lambda lines: [*lines[:3], "x\ty\n", *lines[4:]], "damaged row"),
    ],
)
def test_damaged_tables_are_refused(model, digits, tmp_path, damage, message):
    certify(model, digits, tmp_path / "c")
    path = tmp_path / "c" / "certificates.tsv"
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=message):
        records.read(tmp_path / "c")


def test_a_full_disk_keeps_the_rows(model, digits, tmp_path, monkeypatch):
    """Linux offers /dev/full to play one."""
    killed_after(monkeypatch, 5, lambda: certify(model, digits, tmp_path / "c"))
    full = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with monkeypatch.context() as patch:
        patch.setattr(records.PartialTable, "_open", lambda self: full)
        with pytest.raises(
            UserError, match="No space left on device; its rows of 5 images are kept"
        ):
            certify(model, digits, tmp_path / "c")
    assert len(certify(model, digits, tmp_path / "c")) == 18


def test_a_row_that_does_not_fit_on_the_disk_is_not_taken_for_whole(
    model, digits, tmp_path, monkeypatch
):
    class Short:
        def write(self, text):
            return len(text) - 1

        def close(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(records.PartialTable, "_open", lambda self: Short())
        with pytest.raises(UserError, match="No space left on device; its rows of 0 images"):
            certify(model, digits, tmp_path / "c")


def test_evaluate_gives_the_metrics_of_fixed(model, digits, tmp_path):
    fixed = certify(model, digits, tmp_path / "fixed")
    evaluated = certify(model, digits, tmp_path / "evaluate", mode="evaluate")
    radii = metrics.radii(0.01, 1.0)
    same = metrics.quantities(radii).index(metrics.Quantity(metrics.ABSTENTION))
    values = [metrics.image_values(table, radii, 1000)[:, :same] for table in (fixed, evaluated)]
    np.testing.assert_array_equal(*values)
    skipped = evaluated["n"] == 0
    assert (skipped == (evaluated["top"] != evaluated["label"])).all()
    assert all(np.isnan(value) for value in metrics.p_lower_quantiles(evaluated).values())
    assert 0 < skipped.sum() < len(skipped)
    assert np.isnan(metrics.image_values(evaluated, radii, 1000)[:, same]).all()


def test_staged_and_radius_stop_early(model, digits, tmp_path):
    fixed = certify(model, digits, tmp_path / "fixed", n=20_000)
    settings = {"mode": "staged", "tolerance": 0.5}
    staged = certify(model, digits, tmp_path / "staged", n=20_000, **settings)
    assert set(staged["mode"]) == {"staged"}
    assert set(staged["n"]) == {2000, 20_000}
    assert (staged["radius"] >= 0.4 * fixed["radius"] - 0.01).all()
    at = certify(model, digits, tmp_path / "radius", n=20_000, mode="radius", radius=0.2)
    assert np.isclose(at["radius"], 0.2).sum() + (at["radius"] == 0).sum() == len(at)
    clear = (fixed["radius"] - 0.2).abs() > 0.05
    assert ((at["radius"] > 0) == (fixed["radius"] > 0.2))[clear].all()


def test_the_bound_is_the_largest_that_the_looks_gave(model, digits, tmp_path, monkeypatch):
    class Falling(modes.Mode):
        looks = (10, 20)

        def judge(self, look, counts):
            return np.full(len(counts), (0.9, 0.7)[look]), np.full(len(counts), look == 1)

    monkeypatch.setattr(modes, "of", lambda *_: Falling())
    table = certify(model, digits, tmp_path / "c")
    assert set(table["p_lower"]) == {0.9}
    assert set(table["n"]) == {20}


def test_images_that_are_counted_together_share_their_seconds(model, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampler, "images", 18)
    started = time.perf_counter()
    table = certify(model, digits, tmp_path / "c")
    assert 0 < table["time"].sum() <= time.perf_counter() - started


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_give_the_whole_table(model, digits, tmp_path, monkeypatch, capsys, count):
    whole = certify(model, digits, tmp_path / "elsewhere" / "whole")
    shards = []
    for number in range(1, count + 1):
        folder = tmp_path / f"shard {number}"
        settings = Protocol(subset="every-20", n=1000)
        shard = Shard(number, count)
        (tmp_path / "elsewhere" / "whole" / "certificates.json").unlink(missing_ok=True)
        engine.certify(checkpoint.load(model), digits, settings, folder, CPU, shard)
        shards.append(folder)
    killed_after(monkeypatch, 3, lambda: merge(shards, tmp_path / "merged"))
    merge(shards[::-1], tmp_path / "merged")
    merged, about = records.read(tmp_path / "merged")
    pd.testing.assert_frame_equal(rows(merged), rows(whole))
    assert (about["shard"], about["images"]) == ("1/1", 18)
    merge(shards, tmp_path / "merged")
    assert "holds these certificates already" in capsys.readouterr().err


def test_finished_certificates_stay(model, digits, tmp_path, capsys):
    """The same command has nothing to do, and another one must not replace them."""
    certify(model, digits, tmp_path / "c")
    before = (tmp_path / "c" / "certificates.tsv").read_bytes()
    certify(model, digits, tmp_path / "c")
    assert "holds these certificates already" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"certificates\.tsv is of other weights, settings, code"):
        certify(model, digits, tmp_path / "c", n=500)
    assert (tmp_path / "c" / "certificates.tsv").read_bytes() == before


def test_others_are_replaced_where_that_is_asked_for(model, digits, tmp_path, monkeypatch):
    others = certify(model, digits, tmp_path / "c", n=500)

    def again():
        return certify(model, digits, tmp_path / "c", replace=True)

    killed_after(monkeypatch, 7, again)
    pd.testing.assert_frame_equal(records.read(tmp_path / "c")[0], others)  # until these are done
    fresh = certify(model, digits, tmp_path / "elsewhere" / "fresh")
    pd.testing.assert_frame_equal(rows(again()), rows(fresh))


def test_no_old_table_stands_beside_a_new_description(model, digits, tmp_path, monkeypatch):
    certify(model, digits, tmp_path / "c", n=500)
    write = files.write_text

    def killed(path, text):
        if path.name == "certificates.tsv":
            raise KilledError
        write(path, text)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(files, "write_text", killed)
        certify(model, digits, tmp_path / "c", replace=True)
    assert not (tmp_path / "c" / "certificates.tsv").exists()
    assert set(certify(model, digits, tmp_path / "c")["n"]) == {1000}


def test_a_damaged_table_is_replaced_where_that_is_asked_for(model, digits, tmp_path):
    whole = certify(model, digits, tmp_path / "c")
    path = tmp_path / "c" / "certificates.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="17 rows for 18 images"):
        certify(model, digits, tmp_path / "c")
    replaced = certify(model, digits, tmp_path / "c", replace=True)
    pd.testing.assert_frame_equal(rows(replaced), rows(whole))


def test_a_folder_holds_one_shard_of_one_subset(model, digits, tmp_path):
    def shard(number, subset):
        settings = Protocol(subset=subset, n=1000)
        trained = checkpoint.load(model)
        engine.certify(trained, digits, settings, tmp_path / "c", CPU, Shard(number, 2))

    shard(1, "every-20")
    for other in ((2, "every-20"), (1, "every-60")):
        with pytest.raises(UserError, match=r"certificates\.tsv is of other weights, settings"):
            shard(*other)


def test_another_kind_of_device_makes_other_certificates(model, digits, tmp_path, monkeypatch):
    certify(model, digits, tmp_path / "c")
    monkeypatch.setattr(evaluation, "name", lambda device: "another")
    with pytest.raises(UserError, match=r"certificates\.tsv is of other weights, settings"):
        certify(model, digits, tmp_path / "c")


def test_votes_are_counted_under_the_noise_of_training_as_is_set(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "Sampler", lambda *given: given)
    trained = checkpoint.load(save_model(tmp_path / "model.pt", digits, seed=3))
    trained = dataclasses.replace(trained, point=dataclasses.replace(trained.point, sigma=0.3))
    settings = Protocol(precision="bf16", backend="torch")
    found = evaluation.sampler_of(trained, settings, CPU)
    assert found == (trained.classifier, 0.3, 3, CPU, "bf16", "torch")


def test_what_is_set_aside_stays(tmp_path):
    for content in "abc":
        (tmp_path / "rows").write_text(content)
        files.set_aside(tmp_path / "rows")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"rows.aside": "a", "rows.aside-2": "b", "rows.aside-3": "c"}


def test_merging_refuses_what_is_not_the_whole(model, digits, tmp_path):
    for number in (1, 2, 3):
        settings, shard = Protocol(subset="every-20", n=1000), Shard(number, 3)
        folder = tmp_path / str(number)
        engine.certify(checkpoint.load(model), digits, settings, folder, CPU, shard)
    one, two, three = (tmp_path / name for name in "123")
    with pytest.raises(UserError, match="no row for 6 images"):
        merge([one, two], tmp_path / "merged")
    with pytest.raises(UserError, match="two rows for 6 images"):
        merge([one, two, three, two], tmp_path / "merged")
    certify(model, digits, tmp_path / "other", n=999)
    before = (tmp_path / "other" / "certificates.tsv").read_bytes()
    with pytest.raises(UserError, match=r"certificates\.tsv is of other weights, settings, code"):
        merge([one, two, three], tmp_path / "other")
    assert (tmp_path / "other" / "certificates.tsv").read_bytes() == before
    shutil.copytree(tmp_path / "other", tmp_path / "replaced")
    merge([one, two, three], tmp_path / "replaced", replace=True)
    assert records.read(tmp_path / "replaced")[1]["protocol"]["n"] == 1000
    with pytest.raises(UserError, match="of different weights, settings or devices"):
        merge([one, two, three, tmp_path / "other"], tmp_path / "merged")
    path = one / "certificates.tsv"
    path.write_text(path.read_text().replace("\n60\t", "\n61\t"))
    with pytest.raises(UserError, match="no row for 1 images"):
        merge([one, two, three], tmp_path / "merged")
    about = files.read_json(two / "certificates.json")
    files.write_json(two / "certificates.json", {k: v for k, v in about.items() if k != "identity"})
    with pytest.raises(UserError, match="2 holds no shard: smoothcert certify --shard writes one"):
        merge([one, two, three], tmp_path / "merged")
    about["protocol"]["colour"] = "blue"
    files.write_json(two / "certificates.json", about)
    with pytest.raises(UserError, match=r"does not know \(colour: unknown key\)"):
        merge([two], tmp_path / "merged")


def test_extending_a_subset_certifies_the_new_images_alone(model, digits, tmp_path, capsys):
    few = certify(model, digits, tmp_path / "few", subset="every-60")
    capsys.readouterr()
    more = certify(model, digits, tmp_path / "more", subset="every-20")
    assert f"took over {len(few)} rows" in capsys.readouterr().err
    common = more[more["idx"].isin(few["idx"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(common, few)  # the column of seconds included
    certify(model, digits, tmp_path / "another", subset="every-20", n=500)
    assert "took over" not in capsys.readouterr().err


def test_rows_of_a_shard_are_taken_over(model, digits, tmp_path, capsys):
    shard = certify(model, digits, tmp_path / "whole" / "shard-1-of-3", subset="every-60")
    capsys.readouterr()
    certify(model, digits, tmp_path / "more")
    assert f"took over {len(shard)} rows" in capsys.readouterr().err


def test_rows_of_an_unfinished_neighbour_are_taken_over(model, digits, tmp_path, capsys):
    """As where a certification is cut into shards after its time had run out."""
    before = certify(model, digits, tmp_path / "whole")
    for suffix in ("tsv", "json"):
        whole = tmp_path / "whole" / f"certificates.{suffix}"
        whole.rename(whole.with_name(f"{whole.name}.partial"))
    partial = tmp_path / "whole" / "certificates.tsv.partial"
    header, *lines = partial.read_text().splitlines(keepends=True)
    partial.write_text("".join([header, *lines[:7], lines[7][:-3]]))
    capsys.readouterr()
    after = certify(model, digits, tmp_path / "whole" / "shards")
    assert "took over 7 rows" in capsys.readouterr().err
    pd.testing.assert_frame_equal(rows(after), rows(before))


def test_a_damaged_neighbour_is_not_taken_over(model, digits, tmp_path, capsys):
    certify(model, digits, tmp_path / "few", subset="every-60")
    (tmp_path / "few" / "certificates.tsv").unlink()
    assert len(certify(model, digits, tmp_path / "more")) == 18
    assert "not taken over: " in capsys.readouterr().err


def test_a_shard_is_not_summarised_as_the_whole(model, digits, tmp_path):
    settings, shard = Protocol(subset="every-20", n=1000), Shard(1, 2)
    engine.certify(checkpoint.load(model), digits, settings, tmp_path / "c", CPU, shard)
    with pytest.raises(UserError, match="holds shard 1/2: merge the shards first"):
        summarize(tmp_path / "c")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_as_such(
    model, digits, tmp_path, monkeypatch, capsys, code
):
    def refuse(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    table = certify(model, digits, tmp_path / "c")
    assert f"{tmp_path / 'c'} cannot be locked ({os.strerror(code)})" in capsys.readouterr().err
    assert len(table) == len(certify(model, digits, tmp_path / "d"))


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    """A limit on the size of files stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(UserError, match=r"cannot lock .*c\.lock: File too large"):
            files.lock(tmp_path / "c.lock")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_of_other_settings_is_refused_in_one_line(model):
    content = checkpoint.read(model)
    content["point"]["training"]["colour"] = "blue"
    checkpoint.write(model, content)
    with pytest.raises(UserError, match=r"does not know \(colour: unknown key\)"):
        checkpoint.load(model)


def test_a_second_process_is_told_who_holds_the_table(model, digits, tmp_path):
    folder = tmp_path / "c"
    holder = records.PartialTable(
        folder, {"identity": "", "protocol": {"subset": "all"}, "shard": "1/1"}
    )
    with holder, pytest.raises(UserError, match=f"is being written by process {os.getpid()} on"):
        certify(model, digits, folder)
    assert len(certify(model, digits, folder)) == 18


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_a_shard_is_k_of_n(text):
    with pytest.raises(UserError, match="is not K/N"):
        Shard.read(text)
    assert Shard.read("2/3") == Shard(number=2, total=3)


def test_a_radius_that_no_votes_certify_is_refused(model, digits, tmp_path):
    with pytest.raises(UserError, match=r"radius 1\.9 can never be certified with n 1000"):
        certify(model, digits, tmp_path / "out", n=1000, mode="radius", radius=1.9)
    assert not (tmp_path / "out").exists()
