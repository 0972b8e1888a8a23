"""The command line from start to Ctrl-C, and the address it listens at."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from virtassay import cli
from virtassay.browse.server import is_loopback, listen


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, str(cli.home() / "browse.py"), *arguments],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://[\w.]+:\d+/", line)
    if found is None:
        line += process.communicate()[1]
        raise AssertionError(line)
    return process, found[0]


def test_the_command_serves_until_ctrl_c_and_ends_quietly(real):
    process, url = start(f"folder={real}", "port=0")
    with process:
        try:
            with urllib.request.urlopen(url) as answer:
                assert answer.url.endswith("/plates")
                assert b"week1/p1" in answer.read()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert said == ""


def test_a_wrong_folder_is_one_message(tmp_path):
    done = subprocess.run(
        [sys.executable, str(cli.home() / "browse.py"), f"folder={tmp_path}"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path} has neither dataset.json")
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_which(monkeypatch):
    from virtassay.browse.server import browse

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ValueError, match=r'pip install "virtassay\[browse\]"'):
        browse("anything")


def test_other_machines_are_let_in_only_with_a_warning(real, monkeypatch, caplog):
    from virtassay.browse import server

    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    with caplog.at_level("INFO"):
        server.browse(str(real), port=0)
        assert "password" not in caplog.text
        server.browse(str(real), host="0.0.0.0", port=0)
    assert "there is no password" in caplog.text


def test_loopback_is_known_by_its_address():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "lab.example")] == [False] * 4


def test_a_port_that_is_taken_or_none_is_named():
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="give another port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ValueError, match=r"0 .* to 65535"):
        listen("127.0.0.1", 70000)
