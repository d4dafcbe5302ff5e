"""The download of published logs."""

import io
import socketserver
import tarfile
import threading

import pytest

from smoothcert import cli, files
from smoothcert.errors import UserError
from smoothcert.published import logs


def archive(names):
    """Return an archive of the authors' repository that holds ``names``."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as handle:
        for name in names:
            member = tarfile.TarInfo(f"smoothing-consistency-abc/data/certify/{name}")
            member.size = len(name)
            handle.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


class TestFetch:
    @pytest.fixture
    def authors(self, monkeypatch):
        """The authors' repository, at both commits."""
        monkeypatch.delenv(logs.VARIABLE, raising=False)
        lists = {
            logs.RELEASED: [
                "mnist/cohen/noise_0.25_919",
                "mnist/stab/lbd_2/noise_0.5_1297",
                "mnist/consistency/cohen/num_2/lbd_10.0/eta_0.5/noise_0.25_1",
                "mnist/consistency/cohen/num_2/lbd_10.0/eta_0.5/noise_0.25_1_acc",
                "mnist/consistency/cohen/num_2/lbd_5.0/eta_0.5/noise_0.50_5",
                "mnist/consistency/cohen/num_2/lbd_5.0/eta_0.5/noise_1.00_0",
                "mnist/consistency/cohen/num_2/lbd_20.0/eta_0.5/noise_1.00_0",
            ],
            logs.SUPERSEDED: [
                "mnist/consistency/cohen/num_2/lbd_20.0/noise_0.25_746",
                "mnist/cohen/noise_0.25_old",
            ],
        }
        archives = {logs.ARCHIVE.format(commit=one): archive(names) for one, names in lists.items()}
        monkeypatch.setattr(logs, "_download", archives.get)

    def test_takes_the_published_runs_under_our_names(self, tmp_path, authors):
        found = logs.fetch(tmp_path / "data")
        assert sorted(found) == [
            "mnist/consistency/noise_0.25_1.tsv",
            "mnist/consistency/noise_0.50_5.tsv",
            "mnist/consistency_first_form/noise_0.25_746.tsv",
            "mnist/gaussian/noise_0.25_919.tsv",
            "mnist/stability/noise_0.50_1297.tsv",
        ]
        kept = tmp_path / "data/published-logs/mnist/gaussian/noise_0.25_919.tsv"
        assert kept.read_text() == "mnist/cohen/noise_0.25_919"

    def test_what_is_there_is_not_fetched(self, tmp_path, monkeypatch):
        log = tmp_path / "mnist/gaussian/noise_0.25_7.tsv"
        files.write_text(log, "idx")
        monkeypatch.setenv(logs.VARIABLE, str(tmp_path))
        monkeypatch.setattr(logs, "_download", None)
        assert logs.fetch(tmp_path) == {"mnist/gaussian/noise_0.25_7.tsv": files.sha256(log)}
        monkeypatch.setenv(logs.VARIABLE, str(tmp_path / "absent"))
        with pytest.raises(UserError, match="SMOOTHCERT_REFERENCE_LOGS names"):
            logs.fetch(tmp_path)

    def test_without_a_network_one_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv(logs.VARIABLE, raising=False)
        monkeypatch.setattr(logs, "ARCHIVE", "http://127.0.0.1:9/{commit}")
        output = str(tmp_path / "files.json")
        with pytest.raises(SystemExit) as stop:
            cli.main(["data", "published-logs", f"--data-dir={tmp_path}", f"--output={output}"])
        message = str(stop.value)
        assert "could not be downloaded" in message
        assert "\n" not in message
        assert not (tmp_path / "published-logs").exists()

    @pytest.mark.parametrize(
        ("content", "missing", "message"),
        [
            (b"<html>Sign in to the proxy</html>", 0, "sent no whole archive"),
            (archive(["mnist/cohen/noise_0.25_919"])[:60], 0, "sent no whole archive"),
            (archive(["mnist/cohen/noise_0.25_919"]), 9, "could not be downloaded"),
        ],
        ids=["page", "cut", "broken off"],  # an archive has the time in it, and so would its id
    )
    def test_a_broken_download_is_one_line(self, tmp_path, monkeypatch, content, missing, message):
        """A proxy's page, an archive that was cut at its source, and a connection that broke."""
        answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content) + missing}\r\n\r\n".encode()

        class Authors(socketserver.StreamRequestHandler):
            def handle(self):
                self.request.recv(4096)
                self.wfile.write(answer + content)

        monkeypatch.delenv(logs.VARIABLE, raising=False)
        with socketserver.TCPServer(("127.0.0.1", 0), Authors) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}/{{commit}}"
            monkeypatch.setattr(logs, "ARCHIVE", address)
            with pytest.raises(UserError, match=rf"{message}.*; .*set SMOOTHCERT_REFERENCE_LOGS"):
                logs.fetch(tmp_path)
        assert not (tmp_path / logs.NAME).exists()
