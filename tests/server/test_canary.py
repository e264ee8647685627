"""No key, value, token or pepper in anything that the process emits, at debug level and in errors too."""

import json
import secrets
from hashlib import sha256
from pathlib import Path

from tests.support import server
from tests.support.server import Environment


def test_no_secret_leaves_the_process(database: Environment, tmp_path: Path) -> None:
    key, value, token, pepper = (f"canary{name}{secrets.token_hex(12)}" for name in ("k", "v", "t", "p"))
    digest, pepper = sha256(token.encode()).hexdigest(), sha256(pepper.encode()).hexdigest()
    environment = {
        **database,
        "DUMBKV_LOG_LEVEL": "debug",
        "DUMBKV_PEPPER": f"1 {pepper}",
        "DUMBKV_AUTH_TOKENS": f"app admin sha256:{digest}",
        "DUMBKV_MAX_VALUE_BYTES": "200",
    }
    emitted = []
    with server.running(tmp_path / "log", environment) as process:
        bodies: list[object] = [
            {"key": key, "value": value},
            {"key": key},
            {"key": key, "value": value * 10},
            {"key": key * 100, "value": value},
            {key: value},
            {"key": key, "value": value, "ttl": key},
            {"key": [key], "value": {value: key}},
            {"key": key, "value": value, "database": key},
            [key, value],
            f"{key}{value}",
        ]
        contents = [json.dumps(body).encode() for body in bodies]
        contents.append(f'{{"key": "{key}'.encode())
        contents.append(f'{{"key": "{key}"'.encode() + b"\xff")
        for sent in (token, f"{token}wrong", None):
            with process.client(sent) as client:
                for method in ("PUT", "POST", "DELETE", "PATCH"):
                    for content in contents:
                        response = client.request(method, "/kv", content=content)
                        asked_for = method == "POST" and response.status_code == 200
                        emitted.append(str(response.headers) + ("" if asked_for else response.text))
                emitted.append(client.get(f"/kv/{key}?value={value}").text)
                open_paths = ("/metrics", "/health", "/openapi.json", "/", "/docs")
                emitted += [client.get(path).text for path in open_paths]
        with process.client() as client:
            client.headers["Cookie"] = token
            emitted.append(client.request("PUT", f"/{key}", content=value).text)
        process.stop()
        emitted.append(process.log())
    text = "\n".join(emitted)
    for name, secret in {"key": key, "value": value, "token": token, "pepper": pepper}.items():
        assert secret not in text, f"the {name} was emitted"
    assert digest not in text
