"""Starts tests/apps/load_target.js, the app of the load engine's tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

APPS = Path(__file__).parent.parent / "apps"
START_S = 20.0


class LoadTarget:
    """One running app.  ``url`` is its base URL."""

    def __init__(self, node: str, script: str = "load_target.js", env: Mapping[str, str] | None = None) -> None:
        path = Path(script)
        self.process = subprocess.Popen(
            [node, str(path if path.is_absolute() else APPS / path)],
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            text=True,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise RuntimeError(f"{script} did not say its port within {START_S} s")
        self.port: int = json.loads(line)["port"]
        scheme = "https" if env and "TLS_KEY" in env else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """A JSON answer of the app, asked for on a connection of its own."""
        request = urllib.request.Request(self.url + path, headers={"connection": "close"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def counts(self) -> dict[str, Any]:
        """What the app has counted since it started or was reset; looks like this one are not among it."""
        counts: dict[str, Any] = self.get("/counts")
        return counts

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
