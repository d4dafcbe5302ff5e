"""Published logs: taken over as certificates, or refused in one line."""

import pandas as pd
import pytest

from smoothcert import config_files, files, records, runs
from smoothcert.analysis import experiment, measurement, metrics
from smoothcert.analysis.import_logs import import_logs
from smoothcert.errors import UserError
from smoothcert.smoothing.bounds import certified_radius, lower_bound

IMAGES = 360


def log(seed, sigma=0.25, images=IMAGES, unanimous=100):
    """Return a log as authors publish them, of the digits."""
    counts = [100_000] * unanimous + [60_000 + 37 * seed + i for i in range(images - unanimous)]
    radii = [float(f"{certified_radius(lower_bound(c, 100_000, 0.001), sigma):.3}") for c in counts]
    return pd.DataFrame(
        {
            "idx": range(images),
            "label": 3,
            "predict": 3,
            "radius": radii,
            "correct": 1,
            "time": "0:00:01.25",
        }
    )


def write(table, folder, run, sigma="0.25"):
    path = folder / "digits" / f"noise_{sigma}_{run}.tsv"
    files.make_folder(path.parent)
    table.to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    for run in (7, 11):
        write(log(run), folder, run)
    return folder


def manifest(tmp_path, monkeypatch, subset="all", **entry):
    monkeypatch.chdir(tmp_path)
    settings = config_files.read(
        {
            "experiments": [
                {
                    "name": "from-logs",
                    "dataset": "digits",
                    "arch": "convnet8",
                    "sigmas": [0.25],
                    "seeds": [0, 1],
                    "certification": {"subset": subset},
                    "methods": [
                        {"method": "gaussian", "logs": "digits/noise_{sigma}_*.tsv", **entry}
                    ],
                }
            ]
        }
    )
    path = tmp_path / "experiment.json"
    files.write_json(path, runs.manifest(settings, settings.experiments[0]))
    return path


def imported(path, logs, tmp_path):
    import_logs(path, logs, tmp_path / "imported.json")
    return experiment.load(path)


class TestImport:
    def test_the_numbers_are_the_logs(self, tmp_path, monkeypatch, logs):
        content = imported(manifest(tmp_path, monkeypatch), logs, tmp_path)
        assert {run.row.title for run in content.runs} == {"Gaussian, published log"}
        for run, seed in zip(content.runs, (11, 7), strict=True):  # names in alphabetical order
            table = run.read_certificates()
            assert table["radius"].tolist() == log(seed)["radius"].tolist()
            assert set(table["time"]) == {1.25}
            assert run.read_training() is None
            assert run.description["provenance"]["device"] == "published log"

    def test_their_radii_are_known_to_be_rounded(self, tmp_path, monkeypatch, logs):
        content = imported(manifest(tmp_path, monkeypatch), logs, tmp_path)
        (cell,) = measurement.measure(content).cells.values()
        assert cell[metrics.Quantity(metrics.ACR)].rounded

    def test_an_edited_log_gives_other_numbers(self, tmp_path, monkeypatch, logs):
        path = manifest(tmp_path, monkeypatch)

        def acr():
            run = imported(path, logs, tmp_path).runs[0]
            return metrics.credited_radius(run.read_certificates()).mean()

        before = acr()
        table = log(11)
        table["radius"] *= 0.5
        wrong = table.index <= IMAGES // 2
        table.loc[wrong, "predict"] = (table["label"] + 1) % 10
        table.loc[wrong, "correct"] = 0
        write(table, logs, 11)
        with pytest.raises(UserError, match=r"not of sigma 0\.25: its largest radius is 0\.476"):
            acr()
        table["radius"] = log(11)["radius"]
        write(table, logs, 11)
        assert acr() < 0.7 * before

    def test_a_subset_takes_its_images_alone(self, tmp_path, monkeypatch, logs):
        path = manifest(tmp_path, monkeypatch, subset="every-20")
        table = imported(path, logs, tmp_path).runs[0].read_certificates()
        assert table["idx"].tolist() == list(range(0, IMAGES, 20))

    def test_the_record_names_each_log(self, tmp_path, monkeypatch, logs):
        imported(manifest(tmp_path, monkeypatch), logs, tmp_path)
        record = files.read_json(tmp_path / "imported.json")
        origins = {origin["log"]: origin["sha256"] for origin in record.values()}
        assert origins == {
            f"digits/noise_0.25_{run}.tsv": files.sha256(logs / f"digits/noise_0.25_{run}.tsv")
            for run in (7, 11)
        }

    def test_metrics_say_what_logs_do_not_hold(self):
        certificates = log(1).assign(time=1.0)
        values = metrics.image_values(certificates, metrics.radii(0.25, 0.9), 100_000)
        assert pd.isna(values[:, -1]).all()
        assert not pd.isna(values[:, :-1]).any()
        assert all(map(pd.isna, metrics.p_lower_quantiles(certificates).values()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="radius"), "has no column radius"),
        (lambda table: table.head(9), "has 9 of the 360 images of subset all"),
        (lambda table: table.assign(radius=table["radius"] * 2), "is not of sigma 0.25"),
        (lambda table: table.assign(radius=table["radius"] / 2), "is not of sigma 0.25"),
        (lambda table: pd.concat([table, table.head(1)]), "1 duplicate rows"),
        (lambda table: table.assign(label="seven"), "has a damaged row"),
        (lambda table: table.assign(correct=2), "has an impossible row (image 0, correct 2)"),
    ],
)
def test_a_bad_log_gets_one_line(tmp_path, monkeypatch, logs, change, message):
    write(change(log(7)), logs, 7)
    with pytest.raises(UserError) as error:
        imported(manifest(tmp_path, monkeypatch), logs, tmp_path)
    assert message in str(error.value)
    assert "noise_0.25_7.tsv" in str(error.value)
    assert "\n" not in str(error.value)


def test_logs_and_seeds_must_agree_in_number(tmp_path, monkeypatch, logs):
    with pytest.raises(UserError, match=r"2 logs match .* has 3 seeds; set its seeds to \[0, 1\]"):
        imported(manifest(tmp_path, monkeypatch, seeds=[0, 1, 2]), logs, tmp_path)
    with pytest.raises(UserError, match=r"no log matches digits/none_0\.25\.tsv in .*must hold"):
        imported(manifest(tmp_path, monkeypatch, logs="digits/none_{sigma}.tsv"), logs, tmp_path)


@pytest.mark.parametrize("written", ["0.5", "0.50"])
def test_sigma_is_a_number_however_it_is_written(tmp_path, monkeypatch, written):
    write(log(3, sigma=0.5), tmp_path / "logs", 3, written)
    path = manifest(tmp_path, monkeypatch, sigmas=[0.5], seeds=[0])
    (run,) = imported(path, tmp_path / "logs", tmp_path).runs
    assert run.read_certificates()["radius"].max() == 1.91


def test_a_log_is_a_certificate_table(logs):
    table = records.read_table(logs / "digits/noise_0.25_7.tsv", IMAGES)
    assert table["correct"].all()
