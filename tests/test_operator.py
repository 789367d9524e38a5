"""What an operator relies on: a clean end, swept files, one log line a request."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from gradio_client import Client

from dpm_demo.ui.page import sweep

ROOT = Path(__file__).parents[1]


def test_old_generated_files_are_swept_and_new_ones_stay(tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("new", 0)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "clip.gif"
        path.write_bytes(b"GIF89a")
        for item in (path, path.parent):
            os.utime(item, (time.time() - age,) * 2)
    sweep(tmp_path)
    assert not (tmp_path / "old" / "clip.gif").exists()
    assert (tmp_path / "new" / "clip.gif").exists()


def test_the_app_answers_logs_one_line_a_request_and_ends_cleanly_on_sigterm() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "app.py", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as reply:
                    assert json.loads(reply.read())["status"] == "ok"
                break
            except OSError:
                assert app.poll() is None
                time.sleep(0.2)
        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        client.predict(model="mixture", solver={"nfe": 5}, api_name="/generate")
        app.send_signal(signal.SIGTERM)
        log, _ = app.communicate(timeout=300)  # only a failure waits that long
    finally:
        app.kill()
    assert app.returncode == 0
    assert "Traceback" not in log
    assert len(re.findall(r"generate mixture nfe=5: done in [\d.]+ s", log)) == 1


def test_a_bad_argument_is_one_clear_line() -> None:
    ended = subprocess.run(
        [sys.executable, "app.py", "--device", "tpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode != 0
    assert "device" in ended.stderr and "Traceback" not in ended.stderr
