"""One PostgreSQL cluster with PostGIS of our own: socket only, never as root, a supervised child.

The cluster trusts whoever can open its socket, because the socket lies in a folder of mode 0700 and there is
no other listener. It runs as the ``postgres`` user of the Debian package when we are root, else as ourselves.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from backend.core.config import (
    APP_ROLE,
    AUDITOR_ROLE,
    EMBEDDED_DATABASE,
    EMBEDDED_SOCKET_PORT,
    OWNER_ROLE,
    ConfigError,
    embedded_run_dir,
    embedded_url,
    libpq_url,
)

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path that Linux takes (``sun_path`` less its closing zero)."""

_SOCKET_NAME = f".s.PGSQL.{EMBEDDED_SOCKET_PORT}"
_BINARY_FOLDERS = tuple(f"/usr/lib/postgresql/{version}/bin" for version in (17, 16, 15))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def dies_with_parent(how: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn`` that asks the kernel to send ``how`` to the child when its starter dies.

    So a supervisor that is killed hard leaves nothing behind. Start children from the main thread: the kernel
    watches the thread, not the process.
    """
    parent = os.getpid()

    def arm() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # It died between fork and prctl.
            os._exit(1)

    return arm


@dataclass
class Cluster:
    """A cluster in ``data_dir/postgres`` and its socket in ``data_dir/run``; each may be a link."""

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further server settings, given on the command line."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def run_dir(self) -> Path:
        return embedded_run_dir(self.data_dir)

    @property
    def cluster_dir(self) -> Path:
        return Path(os.path.realpath(self.data_dir / "postgres")) / "data"

    @property
    def log_path(self) -> Path:
        return self.cluster_dir.parent / "server.log"

    def url(self, role: str = OWNER_ROLE, database: str = EMBEDDED_DATABASE) -> str:
        """SQLAlchemy URL of ``role`` in ``database``."""
        return embedded_url(self.run_dir, role, database)

    def initialise(self) -> bool:
        """Make the folders and, once, the cluster itself. Answers whether the cluster is new.

        Raises:
            ConfigError: PostgreSQL or its user is missing, or a folder cannot be had.
        """
        binaries()
        user = _user()
        _place(self.data_dir / "postgres", user, fits=lambda path: True, spare=_spare_data_dir)
        _place(self.data_dir / "run", user, fits=_socket_fits, spare=lambda: _spare_run_dir(self.data_dir))
        if (self.cluster_dir / "PG_VERSION").exists():
            _refuse_another_version(self.cluster_dir)
            return False
        # initdb into a folder beside it and rename: a first start that is killed leaves nothing half made.
        fresh = self.cluster_dir.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        done = subprocess.run(
            [
                str(binaries() / "initdb"), "-D", str(fresh), "-U", OWNER_ROLE, "--auth-local=trust",
                "--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
            ],
            cwd="/", env=_environment(), capture_output=True, text=True, umask=0o077, **_as(user),
        )  # fmt: skip
        if done.returncode:
            raise ConfigError(
                f"The private PostgreSQL could not be made in {self.cluster_dir}: {_last_line(done.stderr)}"
            )
        fresh.rename(self.cluster_dir)
        return True

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the server and wait until it answers, also after a crash that it has to recover from.

        Raises:
            ConfigError: it does not come up; the text quotes the last line of its log.
        """
        deadline = time.monotonic() + timeout_s
        self._outlive_predecessor(deadline)
        _rotate(self.log_path)
        while True:
            self._spawn()
            refusal = self._await(deadline)
            if refusal is None:
                break
            # Sessions of a postmaster that was killed hard hold its shared memory for a moment longer.
            if "shared memory" not in refusal or time.monotonic() > deadline:
                raise ConfigError(f"The private PostgreSQL stopped at once: {_last_line(refusal)}")
            time.sleep(0.1)
        self._make_roles()

    def _spawn(self) -> None:
        options: dict[str, str] = {
            "listen_addresses": "",
            "port": str(EMBEDDED_SOCKET_PORT),
            "unix_socket_directories": str(self.run_dir),
            "unix_socket_permissions": "0700",
            "jit": "off",
            "timezone": "UTC",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "logging_collector": "off",
            # A statement in the log would carry what people wrote; the error alone does not.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_checkpoints": "off",
            **self.settings,
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(binaries() / "postgres"), "-D", str(self.cluster_dir), *arguments],
                cwd="/", env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=dies_with_parent(signal.SIGINT), **_as(_user()),
            )  # fmt: skip

    def _await(self, deadline: float) -> str | None:
        """Wait until the server answers; if it stops instead, answer what it wrote about that."""
        assert self.process is not None
        already_written = self.log_path.stat().st_size
        while True:
            if self.process.poll() is not None:
                return self._log_since(already_written)
            # Readiness is a connection, not pg_ctl's opinion: that one believes in zombies.
            try:
                with psycopg.connect(libpq_url(self.url(database="postgres")), connect_timeout=5):
                    return None
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"The private PostgreSQL does not answer: {_last_line(self._log_since(0))}"
                    ) from None
            time.sleep(0.02)

    def _make_roles(self) -> None:
        """Roles that connect over the socket: to the migrations they are group roles that cannot log in."""
        with psycopg.connect(libpq_url(self.url(database="postgres")), autocommit=True) as connection:
            there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")}
            for role in (APP_ROLE, AUDITOR_ROLE):
                if role not in there:
                    statement = sql.SQL(
                        "CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
                    )
                    connection.execute(statement.format(sql.Identifier(role)))

    def answers(self) -> bool:
        """Whether a server, ours or another process's, answers on the socket."""
        if not self.cluster_dir.exists():
            return False
        try:
            with psycopg.connect(libpq_url(self.url(database="postgres")), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def make_database(self, name: str = EMBEDDED_DATABASE, template: str | None = None) -> None:
        """Make the database if it is not there; ``template`` names one to copy."""
        with psycopg.connect(libpq_url(self.url(database="postgres")), autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if there is None:
                statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template1")
                )
                connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop the database, ending whoever is still connected to it."""
        with psycopg.connect(libpq_url(self.url(database="postgres")), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def stop(self, timeout_s: float = 30.0) -> None:
        """Fast shutdown: sessions are ended, everything committed is on disk."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)

    def _outlive_predecessor(self, deadline: float) -> None:
        """Wait for the postmaster of a supervisor that was killed: it is shutting down, or is told to."""
        pid_file = self.cluster_dir / "postmaster.pid"
        told = False
        while (pid := _postmaster_pid(pid_file)) is not None:
            if not (_is_alive(pid) and _serves(pid, self.cluster_dir)):
                for claim in (pid_file, self.run_dir / f"{_SOCKET_NAME}.lock"):
                    _disown(claim)
                return
            if not told:
                os.kill(pid, signal.SIGINT)
                told = True
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"An earlier PostgreSQL (process {pid}) still holds {self.cluster_dir} and does not stop."
                )
            time.sleep(0.05)

    def _log_since(self, offset: int) -> str:
        try:
            return self.log_path.read_bytes()[offset:].decode(errors="replace")
        except OSError:
            return ""


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold ``path`` as a lock that dies with the process; a holder elsewhere is a ConfigError of ``busy``."""
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(busy) from None
        # Who holds it, for people who look; the lock itself is the kernel's.
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def binaries() -> Path:
    """The folder of initdb and postgres, the newest version first.

    Raises:
        ConfigError: there is none.
    """
    for folder in (*_BINARY_FOLDERS, os.path.dirname(shutil.which("initdb") or "")):
        if folder and (Path(folder) / "initdb").exists() and (Path(folder) / "postgres").exists():
            return Path(folder)
    raise ConfigError(
        "PostgreSQL is not installed: run script/setup, or give DATABASE_URL of a PostGIS database."
    )


def _user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: the package's own user when we are root, else ourselves (None)."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise ConfigError("PostgreSQL never runs as root, and this machine has no user postgres.") from None


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    # PG* variables of the caller's shell point at other servers; LANG may name a locale that is not there.
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def _place(
    path: Path,
    user: pwd.struct_passwd | None,
    *,
    fits: Callable[[Path], bool],
    spare: Callable[[], Path],
) -> None:
    """Make ``path`` a folder that ``user`` alone may enter, or a link to a spare one when it cannot be."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
    elif fits(path) and (user is None or _traversable(path.parent, user)):
        target = path
    else:
        target = spare()
        if path.is_dir():
            path.rmdir()
        path.symlink_to(target)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = target.lstat()
        wanted = os.geteuid() if user is None else user.pw_uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), wanted):
            raise ConfigError(f"{target} belongs to somebody else, so the private PostgreSQL cannot use it.")
        if user is not None and found.st_uid != wanted:
            os.chown(target, user.pw_uid, user.pw_gid)
        target.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"The folder {target} cannot be made: {error.strerror or error}.") from None


def _traversable(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether ``user`` may pass through every folder of the path (a checkout below /root is closed to it)."""
    for part in (folder, *folder.parents):
        found = part.stat()
        if found.st_uid == user.pw_uid:
            bit = stat.S_IXUSR
        elif found.st_gid == user.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not found.st_mode & bit:
            return False
    return True


def _socket_fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET_NAME)) <= SOCKET_PATH_LIMIT


def _spare_data_dir() -> Path:
    home = Path("/var/lib/xungeng") / secrets.token_hex(6)
    home.mkdir(parents=True)
    for folder in (home.parent, home):  # Whatever root's umask is, postgres has to pass through.
        folder.chmod(0o711)
    return home / "postgres"


def _spare_run_dir(data_dir: Path) -> Path:
    name = "xungeng-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    for base in ("/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"):
        if base and os.access(base, os.W_OK | os.X_OK) and _socket_fits(Path(base) / name):
            return Path(base) / name
    raise ConfigError(f"No folder with a path short enough for a socket was found for {data_dir}.")


def _refuse_another_version(cluster_dir: Path) -> None:
    made_with = (cluster_dir / "PG_VERSION").read_text().strip()
    ours = subprocess.run([str(binaries() / "postgres"), "--version"], capture_output=True, text=True)
    here = ours.stdout.split()[-1 if "(" not in ours.stdout else 2].split(".")[0]
    if made_with != here:
        raise ConfigError(
            f"The data in {cluster_dir} was written by PostgreSQL {made_with}, but this machine has {here}:"
            " install the former or move the data with pg_dump."
        )


def _rotate(log: Path, limit_bytes: int = 10_000_000) -> None:
    if log.exists() and log.stat().st_size > limit_bytes:
        log.replace(log.with_suffix(".log.1"))


def _postmaster_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] != "Z"


def _disown(pid_file: Path) -> None:
    """Take the claim off the dead postmaster's number, which may be a zombie's or, after a reboot, anybody's.

    The file itself has to stay: its other lines are how PostgreSQL finds out whether sessions of the dead
    postmaster still hold its shared memory. PostgreSQL knows that the number of its own parent is no claim.
    """
    if not pid_file.exists():
        return
    lines = pid_file.read_text().splitlines(keepends=True)
    lines[0] = f"{os.getpid()}\n"
    with open(pid_file, "r+") as file:
        file.writelines(lines)
        file.truncate()


def _serves(pid: int, cluster_dir: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == cluster_dir
    except OSError:
        return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (fatal or lines or ["it wrote no reason."])[-1]
