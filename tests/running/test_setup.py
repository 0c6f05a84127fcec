"""`script/setup` cleans up after itself, also after Ctrl-C: the real script, with a pretended apt-get."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from running.installation import ROOT, wait_until

APT_GET = """#!/bin/sh
case "$*" in
  *update*) exit 0 ;;
  *--download-only*) phase=fetching ;;
  *) phase=installing; [ -x "$POLICY" ] || exit 9 ;;
esac
echo $$ >"$STATE/$phase"
[ ! -e "$STATE/$phase.fails" ] || exit 100
count=0
while [ ! -e "$STATE/$phase.go" ] && [ "$count" -lt 300 ]; do sleep 0.1; count=$((count + 1)); done
echo done >"$STATE/$phase.done"
"""


class Setup:
    """A checkout with nothing but the script, on a machine that has no Redis yet and a make-believe apt-get."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.policy = folder / "policy-rc.d"
        programs = folder / "bin"
        for made in (self.state, programs, folder / "script"):
            made.mkdir()
        for source in ("/usr/bin", "/bin"):
            for program in Path(source).iterdir():
                kept = program.name not in ("redis-server", "apt-get", "sudo", "id")
                if kept and not (programs / program.name).exists():
                    (programs / program.name).symlink_to(program)
        for name, text in (("apt-get", APT_GET), ("id", "#!/bin/sh\necho 0\n")):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        script = folder / "script" / "setup"
        text = (ROOT / "script" / "setup").read_text()
        assert "/usr/sbin/policy-rc.d" in text
        text = text.replace("/usr/sbin/policy-rc.d", str(self.policy))
        script.write_text(text.replace("/etc/postgresql-common", str(folder / "postgresql-common")))
        script.chmod(0o755)
        kept = {"STATE": str(self.state), "POLICY": str(self.policy), "XUNGENG_DATA": str(folder / "var")}
        self.process = subprocess.Popen(
            [str(script), "test"],
            env={"PATH": str(programs), **kept},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def reaches(self, phase: str) -> int:
        """Wait until apt-get is at it; answers its process."""
        file = self.state / phase
        wait_until(lambda: file.exists() and file.read_text().strip())
        return int(file.read_text())

    def press_ctrl_c(self) -> None:
        """What the terminal does: the signal goes to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self) -> tuple[int, str]:
        output, _nothing = self.process.communicate(timeout=40)
        return self.process.returncode, output


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    if setup.process.poll() is None:
        os.killpg(setup.process.pid, signal.SIGKILL)
        setup.process.wait()
    assert setup.process.stdout is not None
    setup.process.stdout.close()


def test_ctrl_c_while_packages_are_fetched_ends_apt_get_at_once(setup: Setup) -> None:
    apt_get = setup.reaches("fetching")
    setup.press_ctrl_c()
    code, _output = setup.ends()
    assert code == 130
    wait_until(lambda: not is_running(apt_get), 3)
    assert not (setup.state / "fetching.done").exists()
    assert not setup.policy.exists()


def test_ctrl_c_while_packages_are_installed_waits_for_them_and_leaves_services_allowed(setup: Setup) -> None:
    (setup.state / "fetching.go").touch()
    setup.reaches("installing")
    assert setup.policy.exists(), "nothing starts by itself meanwhile"
    setup.press_ctrl_c()
    with pytest.raises(subprocess.TimeoutExpired):
        setup.process.wait(0.7)
    setup.press_ctrl_c()
    (setup.state / "installing.go").touch()
    code, output = setup.ends()
    assert code == 130
    assert "is being finished" in output
    assert (setup.state / "installing.done").exists()
    assert not setup.policy.exists()


def test_a_failed_installation_leaves_services_allowed_and_says_what_to_install(setup: Setup) -> None:
    (setup.state / "fetching.go").touch()
    (setup.state / "installing.fails").touch()
    code, output = setup.ends()
    assert code == 1
    assert "could not be installed" in output
    assert "apt-get install redis-server" in output
    assert not setup.policy.exists()


def test_what_a_killed_installation_left_is_taken_back_and_what_somebody_else_put_there_stays(
    tmp_path: Path,
) -> None:
    for number, (text, stays) in enumerate([("#!/bin/sh\nexit 101\n", True), (None, False)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed = Setup(folder)
        if text is None:
            (killed.state / "fetching.go").touch()
            apt_get = killed.reaches("installing")
            assert killed.policy.exists()
            os.killpg(killed.process.pid, signal.SIGKILL)
            killed.ends()
            wait_until(lambda pid=apt_get: not is_running(pid))
        else:
            killed.policy.write_text(text)
            killed.policy.chmod(0o755)
            killed.reaches("fetching")
            killed.press_ctrl_c()
            killed.ends()
        for left in killed.state.iterdir():
            left.unlink()
        (killed.state / "fetching.fails").touch()
        again = subprocess.run(
            [str(folder / "script" / "setup"), "test"],
            env={"PATH": str(folder / "bin"), "STATE": str(killed.state), "POLICY": str(killed.policy),
                 "XUNGENG_DATA": str(folder / "var")},
            capture_output=True, check=False,
        )  # fmt: skip
        assert again.returncode == 1
        assert killed.policy.exists() is stays
