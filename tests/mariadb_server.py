"""A MariaDB of Debian's packages for tests, with the databases, users and rights that a cluster's has."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from sqlalchemy import Connection

DATABASE_MANIFEST = Path(__file__).parents[1] / "deploy" / "kubernetes" / "base" / "database.yaml"
USERS = ("zenml", "mlflow", "lungline", "lungline-reader")


@dataclass
class MariaDB:
    """A server on a port of this machine. folder: its data, socket and passwords."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def password(self, user: str) -> str:
        return f"secret-of-{user}"

    def url(self, user: str, database: str | None = None, scheme: str = "mysql+pymysql") -> str:
        """The address for one of USERS."""
        name = user.replace("-", "_")
        return f"{scheme}://{name}:{self.password(user)}@127.0.0.1:{self.port}/{database or name.split('_')[0]}"

    def root(self) -> Connection:
        """A connection of the administrator, who may do anything; every statement is committed by itself."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        address = f"mysql+pymysql://root@localhost/?unix_socket={self.socket}"
        return create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()

    def run(self, *statements: str) -> None:
        with self.root() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def empty(self, database: str) -> None:
        """Remove every table; rights stay."""
        with self.root() as connection:
            tables = connection.exec_driver_sql(f"SHOW TABLES IN `{database}`").scalars().all()
            for table in tables:
                connection.exec_driver_sql(f"DROP TABLE `{database}`.`{table}`")

    def as_in_the_cluster(self, script: str) -> str:
        """A script of the manifests that speaks to this server and knows its passwords."""
        reach = f"--no-defaults --socket={self.socket}"
        script = re.sub(r"\b(mariadb|mariadb-dump) --(?:host=database --)?user", rf"\1 {reach} --user", script)
        return script.replace("/run/secrets/database", str(self.folder))

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                *(["--user=root"] if os.getuid() == 0 else []),
                f"--datadir={self.folder / 'data'}",
                f"--socket={self.socket}",
                f"--port={self.port}",
                f"--pid-file={self.folder / 'pid'}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--character-set-server=utf8mb4",
                "--innodb-buffer-pool-size=64M",
                "--innodb-flush-log-at-trx-commit=0",  # nobody pulls the plug of a test
                "--innodb-doublewrite=0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "server.log").open("ab"),
        )
        until = time.monotonic() + 60
        while subprocess.run(["mariadb-admin", f"--socket={self.socket}", "ping"], capture_output=True).returncode:
            assert time.monotonic() < until, (self.folder / "server.log").read_text()
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None


@contextmanager
def running_server(folder: Path) -> Iterator[MariaDB]:
    """A server prepared by the script of the cluster's manifest; skips where MariaDB is not installed."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = MariaDB(folder, probe.getsockname()[1])
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            *(["--user=root"] if os.getuid() == 0 else []),
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        check=True,
        capture_output=True,
    )
    (folder / "root-password").write_text("")
    for user in USERS:
        (folder / f"{user}-password").write_text(server.password(user))
    try:
        server.start()
        subprocess.run(["bash", "-euo", "pipefail", "-c", server.as_in_the_cluster(_init_script())], check=True)
        yield server
    finally:
        server.stop()


def _init_script() -> str:
    (config_map, *_) = yaml.safe_load_all(DATABASE_MANIFEST.read_text(encoding="utf-8"))
    return str(config_map["data"]["databases.sh"])
