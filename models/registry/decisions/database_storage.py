"""The decision log in a MySQL or MariaDB database: a table of lines, a table with the head, and an advisory lock.

The lock belongs to a connection, and what is written under it is written over that connection, which is asked first
whether it still has the lock: a connection that broke and came back has not. Should two writers get past the lock all
the same, as they could in a cluster with several masters, the number of a line is its key: one of them is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, UsageProblem
from models.registry.decisions.storage import LOCK_SECONDS, not_locked

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine

VARIABLE = "LUNGLINE_DECISIONS_URL"
LINES = "decision_lines"
HEAD = "decision_head"

_DIALECTS = ("mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql")
_TABLES = {
    HEAD: "id INT PRIMARY KEY, head LONGBLOB NOT NULL",
    LINES: "sequence INT PRIMARY KEY, line LONGBLOB NOT NULL",
}
_ADD_LINE = f"INSERT INTO {LINES} VALUES (:number, :line)"  # noqa: S608
_SET_HEAD = f"INSERT INTO {HEAD} VALUES (1, :head) ON DUPLICATE KEY UPDATE head = :head"  # noqa: S608
_ANSWER_SECONDS = 30  # a network that swallows everything is given up after that
_LOCK_SLICE_SECONDS = 10  # the server is asked again and again for the lock, so that its answers can be waited for


class DatabaseStorage:
    """A log in the database that a URL names. Raises UsageProblem for one that names no MySQL or MariaDB database."""

    name = f"table {LINES}"
    head_name = f"table {HEAD}"

    def __init__(self, url: str) -> None:
        self._engine, self.place = _engine(url)
        self._lock = f"lungline decisions {self._engine.url.database}"[:64]  # longer names are refused
        self._held: Connection | None = None

    def begun(self) -> bool:
        lines, head = self.read()
        return bool(lines) or head is not None

    def read(self) -> tuple[bytes, bytes | None]:
        with self._transaction() as connection:
            tables = _tables(connection)
            lines, heads = (_rows(connection, table) if table in tables else [] for table in (LINES, HEAD))
        # Behind a line whose number is not its place comes an empty one, which no log has.
        data = (line + (b"\n" if number == place else b"\n\n") for place, (number, line) in enumerate(lines))
        return b"".join(data), b"".join(head for _, head in heads) if heads else None

    def append(self, lines: Mapping[int, bytes], head: bytes) -> None:
        with self._transaction() as connection:  # of its own, because making a table commits
            self._require_lock(connection)
            for table, columns in _TABLES.items():
                if table not in _tables(connection):
                    _run(connection, f"CREATE TABLE {table} ({columns}) ENGINE=InnoDB")
        with self._transaction() as connection:
            self._require_lock(connection)
            for number, line in lines.items():
                _run(connection, _ADD_LINE, number=number, line=line)
            _run(connection, _SET_HEAD, head=head)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._errors():
            connection = self._engine.connect()
        try:
            self._held = connection
            self._take_lock()
            yield
        finally:
            self._held = None
            connection.close()  # and with it the server lets go of the lock

    def _take_lock(self) -> None:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            seconds = int(max(0, min(_LOCK_SLICE_SECONDS, until - time.monotonic())))
            with self._transaction() as connection:
                if (
                    _run(connection, "SELECT GET_LOCK(:name, :seconds)", name=self._lock, seconds=seconds).scalar()
                    == 1
                ):
                    return
            if time.monotonic() >= until:
                raise not_locked(self.place, f"another process holds it for more than {LOCK_SECONDS:.0f} seconds")

    def _require_lock(self, connection: Connection) -> None:
        if not _run(connection, "SELECT IS_USED_LOCK(:name) = CONNECTION_ID()", name=self._lock).scalar():
            raise ExternalServiceError(
                f"The connection to {self.place} was lost, and with it the lock on the decision log.",
                why="Somebody else may have decided meanwhile.",
                cure="Run the command again; `lungline status` settles what was begun.",
            )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """On the connection that holds the lock, else on one of its own."""
        with self._errors(), self._connection() as connection, connection.begin():
            yield connection

    def _connection(self) -> AbstractContextManager[Connection]:
        return nullcontext(self._held) if self._held else self._engine.connect()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            # SQLAlchemy's own text goes on with the statement and what was to be written.
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            said = cause.args[-1] if cause.args else type(cause).__name__
            raise ExternalServiceError(
                f"The decision log at {self.place} failed: {said}.",
                why="A decision counts when the database has it, and none is made without knowing the earlier ones.",
                cure=f"See that the database answers and that the user in {VARIABLE} may do this, then run it again.",
            ) from error


def _run(connection: Connection, statement: str, **values: object) -> CursorResult[Any]:
    from sqlalchemy import text

    return connection.execute(text(statement), values)


def _tables(connection: Connection) -> list[str]:
    from sqlalchemy import inspect

    return inspect(connection).get_table_names()


def _rows(connection: Connection, table: str) -> list[tuple[int, bytes]]:
    return [(number, data) for number, data in _run(connection, f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608


def _engine(address: str) -> tuple[Engine, str]:
    """The engine, and its address without the password."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError
    from sqlalchemy.pool import NullPool

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        # It is not shown: what was taken for a host or a port may be part of a password.
        raise _no_database("It is no address of the form mysql+pymysql://USER:PASSWORD@HOST:PORT/DATABASE.")
    shown = url.set(query={}).render_as_string(hide_password=True)
    if url.drivername not in _DIALECTS or not url.database:
        raise _no_database(f"{shown} names no MySQL or MariaDB database.")
    waiting = {"connect_timeout": 10, "read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS}
    try:
        engine = create_engine(
            url.set(drivername="mysql+pymysql"),
            poolclass=NullPool,
            pool_reset_on_return=None,
            isolation_level="REPEATABLE READ",  # lines and head are read as they were at one moment
            hide_parameters=True,
            connect_args=waiting,
        )
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"{VARIABLE} is set, and the package {error.name} is not installed.",
            why="It speaks to the database that keeps the decision log.",
            cure="Install Lungline with its extra `kubernetes`.",
        ) from error
    return engine, shown


def _no_database(what: str) -> UsageProblem:
    return UsageProblem(
        f"{VARIABLE} cannot be used. {what}",
        why="The decision log is kept in a database that several machines reach, or else in a file of LUNGLINE_HOME.",
        cure="Write special characters of the password as %XX; or unset the variable to keep the log in a file.",
    )
