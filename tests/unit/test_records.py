"""Interchange with published logs, in both directions."""

import pandas as pd
import pytest
from synthetic import write_experiment

from smoothcert import files, growing, records, yaml_files
from smoothcert.analysis import metrics
from smoothcert.analysis.summary import summarize
from smoothcert.errors import UserError

LOG = """idx\tlabel\tpredict\tradius\tcorrect\ttime
0\t7\t7\t{radius}\t1\t{time}
20\t2\t-1\t0.0\t0\t{time}
40\t1\t4\t0.3\t0\t{time}
"""


def test_our_table_read_as_one_reads_theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = write_experiment(tmp_path)
    folder = tmp_path / files.read_json(manifest)["runs"][0]["certificates"]
    summarize(folder)
    frame = pd.read_csv(folder / "certificates.tsv", delimiter="\t")
    acr = (frame["correct"] * frame["radius"]).mean()
    # But for the order of the sum, the same number.
    assert acr == pytest.approx(files.read_json(folder / "summary.json")["acr"], rel=1e-14)


@pytest.mark.parametrize("radius", ["0.953", "0.9529", "1.91", "0.952864157"])
@pytest.mark.parametrize(
    ("time", "seconds"), [("0:00:00.591566", 0.591566), ("1:02:03", 3723.0), ("0.35", 0.35)]
)
def test_logs_of_every_vintage(tmp_path, radius, time, seconds):
    path = tmp_path / "log.tsv"
    path.write_text(LOG.format(radius=radius, time=time))
    table = records.read_table(path, images=3)
    assert table["radius"].tolist() == [float(radius), 0.0, 0.3]
    assert table["time"].tolist() == pytest.approx([seconds] * 3)
    assert metrics.credited_radius(table).sum() == float(radius)


def test_incomplete_logs_are_refused_unless_allowed(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text(LOG.format(radius=1.0, time="0.1"))
    with pytest.raises(UserError, match="has 3 rows for 500 images"):
        records.read_table(path, images=500)
    assert len(records.read_table(path, images=500, partial=True)) == 3
    with pytest.raises(UserError, match="has 3 rows for 2 images"):
        records.read_table(path, images=2, partial=True)


def test_a_log_of_other_columns(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text("idx,label\n1,2\n")
    with pytest.raises(UserError, match="has no column idx, label, predict"):
        records.read_table(path, images=1)


def test_a_torn_row_is_told_by_its_line(tmp_path):
    path = tmp_path / "log.tsv"
    whole = LOG.format(radius=1.0, time="0.1")
    path.write_text(whole + "7\t1\t")
    number = len(whole.splitlines()) + 1
    with pytest.raises(UserError, match=rf"damaged row \(line {number}\); delete it and certify"):
        records.read_table(path, images=4)


def test_a_torn_count_is_told_by_its_line_too(tmp_path):
    path = tmp_path / "certificates.tsv"
    columns = "\t".join(records.COLUMNS)
    row = "7\t1\t1\t0.5\t1\t0.1\t1\t9\t10\t{count}\t100\t{p_lower}\tfixed\t100\n"
    for count, p_lower in (("", 0.9), (99, "high")):
        path.write_text(f"{columns}\n{row.format(count=count, p_lower=p_lower)}")
        with pytest.raises(UserError, match=r"damaged row \((line 2|could not convert .*'high')"):
            records.read_table(path, images=1)


def test_a_file_that_is_no_table_is_not_to_be_deleted(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"\xff\x00\x80")
    with pytest.raises(
        UserError, match=r"model\.pt cannot be read as a table .*; name a \.tsv, or"
    ):
        records.read_table(path, images=1)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("certificates.tsv", lambda path: records.read_table(path, images=1)),
        ("certificates.json", files.read_json),
        ("config.yaml", lambda path: yaml_files.load(path, "experiments")),
    ],
)
def test_what_the_system_cannot_read_is_not_called_damaged(tmp_path, name, read):
    """A file server that fails must not have anybody delete certificates."""
    path = tmp_path / name
    path.symlink_to("/proc/self/mem")  # its first byte is not mapped
    with pytest.raises(UserError, match=rf"^cannot read .*{name}: Input/output error$"):
        read(path)


def test_attacks_are_not_taken_for_lost_certificates(tmp_path):
    (tmp_path / "attacked.tsv").touch()
    with pytest.raises(UserError, match=r"\.json does not exist; this is the output of smooth"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("[]", "Input should be"),
        ("{}", "point: Field required"),
        ('{"point": {"dataset": "mnist", "arch": "lenet"}}', "point.sigma: Field required"),
        ('{"point": {"dataset": "mnist", "arch": "lenet", "sigma": -1}}', "point.sigma: Input"),
        ('{"point": NaN}', "cannot be read as JSON: NaN is no number; delete the folder"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path, damage, fault):
    about = tmp_path / "certificates.json"
    about.write_text(damage)
    about.with_suffix(".tsv").touch()
    with pytest.raises(UserError) as caught:
        records.read(tmp_path)
    assert str(caught.value).startswith(f"{about}")
    assert fault in str(caught.value)
    assert str(caught.value).endswith(f"and {records.AGAIN}")


def partial(folder, mode="fixed"):
    """Return an empty table of 1,000 votes an image."""
    protocol = {"subset": "all", "mode": mode, "radius": 0.05}
    return records.PartialTable(folder, {"identity": "", "protocol": protocol, "shard": "1/1"})


def row(index, predict=3, radius=0.5):
    """Return a row of an image of class 3."""
    correct = int(predict == 3)
    about = index, 3, predict, radius, correct, 0.1, 3, 100, 100, 900, 1000, 0.9, "fixed", 100
    return records.Certificate(*about)


def test_a_written_row_is_in_the_file_at_once(tmp_path):
    with partial(tmp_path) as table:
        for count in (1, 2):
            table.append(row(count))
            assert len(table.path.read_text().splitlines()) == 1 + count


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("fixed", "ACR 0.1500 ± 0.1190  abstained 25.0%"),
        ("evaluate", "ACR 0.1500 ± 0.1190"),
        ("radius", "certified accuracy at 0.05 0.5000 ± 0.2887  abstained 25.0%"),
    ],
)
def test_what_is_known_so_far_is_told_in_the_terms_of_the_mode(tmp_path, mode, words):
    with partial(tmp_path, mode) as table:
        table.append(row(0, 3, 0.5))
        assert "±" not in table.summary()
        for other in (row(1, -1, 0.0), row(2, 5, 0.4), row(3, 3, 0.1)):
            table.append(other)
        assert table.summary() == words


def test_all_that_decides_a_row_is_in_its_identity():
    about = {
        "protocol": {"subset": "all", "n": 1000},
        "model": {"sha256": "ab"},
        "evaluation": {"precision": "fp32"},
        "provenance": {"code": "12", "data": "34", "commit": "56"},
    }

    def identity(part, **change):
        return growing.identity({**about, part: {**about[part], **change}}, "cpu")

    same = growing.identity(about, "cpu")
    assert identity("protocol", subset="0-9") == identity("provenance", commit="78") == same
    others = [
        identity("protocol", n=2000),
        identity("model", sha256="cd"),
        identity("evaluation", precision="bf16"),
        identity("provenance", code="78"),
        identity("provenance", data="78"),
        growing.identity(about, "another device"),
    ]
    assert same not in others
