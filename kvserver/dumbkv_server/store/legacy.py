"""Databases of the original DumbKV: one table `kv(database_id, key, value)`, used as it is.

`key` is the row key (see `crypto.legacy_row_key`) and `value` a Fernet token, both text. Rows answer as they
are and become version 1 rows when they are read or written; nothing is ever added to this table.
"""

TABLE = "kv"
COLUMNS = {"database_id", "key", "value"}

# The statements differ only in how a backend marks a parameter.
SQLITE_SELECT = "SELECT value FROM kv WHERE database_id = ? AND key = ?"
SQLITE_DELETE = "DELETE FROM kv WHERE database_id = ? AND key = ?"
POSTGRES_DELETE = "DELETE FROM kv WHERE database_id = %s AND key = %s"
COUNT = "SELECT database_id, count(*) FROM kv GROUP BY database_id"
COUNT_ALL = "SELECT count(*) FROM kv"
SQLITE_DROP = "DELETE FROM kv WHERE database_id = ?"
POSTGRES_DROP = "DELETE FROM kv WHERE database_id = %s"


def as_text(value: object) -> str:
    """A Fernet token as text, whichever type its column has; what can be none is empty, which is none too."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("ascii", "replace")
    return value if isinstance(value, str) else ""
