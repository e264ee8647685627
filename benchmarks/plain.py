"""What one would write without DumbKV: a durable key-value store of thirty lines, FastAPI on SQLite."""

import os
import sqlite3
import threading

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI()
lock = threading.Lock()
connection = sqlite3.connect(os.environ["PLAIN_DATABASE"], check_same_thread=False, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


class Key(BaseModel):
    """What to get."""

    key: str


class Pair(Key):
    """What to store."""

    value: str


@app.put("/kv")
def put(pair: Pair) -> dict[str, str]:
    """Store a value; it is on disk when this returns."""
    with lock:
        connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (pair.key, pair.value))
    return {"status": "success"}


@app.post("/kv")
def get(key: Key) -> dict[str, str]:
    """Get a value, or 404."""
    with lock:
        row = connection.execute("SELECT value FROM kv WHERE key = ?", (key.key,)).fetchone()
    if row is None:
        raise HTTPException(404)
    return {"value": row[0]}
