"""`script/test` that is broken off says so: the real script, with a pretended set-up and pytest."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from running.installation import ROOT, wait_until

WAITING = """#!/bin/sh
trap 'echo ended in order; exit {code}' INT
touch "$STATE/{name}"
count=0
while [ "$count" -lt 300 ]; do sleep 0.1; count=$((count + 1)); done
"""


@pytest.mark.parametrize("at", ["setup", "pytest"])
def test_ctrl_c_is_told_after_what_ran_has_ended_and_is_no_success(tmp_path: Path, at: str) -> None:
    programs = {"setup": tmp_path / "script" / "setup", "pytest": tmp_path / ".venv" / "bin" / "pytest"}
    for name, path in programs.items():
        path.parent.mkdir(parents=True)
        path.write_text(
            WAITING.format(name=name, code=130 if name == "setup" else 2) if name == at else "#!/bin/sh\n"
        )
        path.chmod(0o755)
    script = tmp_path / "script" / "test"
    script.write_text((ROOT / "script" / "test").read_text())
    script.chmod(0o755)
    process = subprocess.Popen(
        [str(script), "tests/geo"], env={"PATH": os.environ["PATH"], "STATE": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        wait_until((tmp_path / at).exists)
        os.killpg(process.pid, signal.SIGINT)
        output, _nothing = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 130
    told = output.splitlines()
    assert "ended in order" in told
    assert told[-1] == "script/test: interrupted; the rest was not run."


def test_a_run_that_ends_is_not_called_interrupted(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "script" / "setup", 0), (tmp_path / ".venv" / "bin" / "pytest", 1)):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\nexit {code}\n")
        path.chmod(0o755)
    script = tmp_path / "script" / "test"
    script.write_text((ROOT / "script" / "test").read_text())
    script.chmod(0o755)
    done = subprocess.run([str(script), "tests/geo"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "script/test: failed: pytest"
