"""TLS, with a certificate of our own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest
from support.load_target import LoadTarget

from pytest_memory.errors import LoadError
from pytest_memory.load import LoadGenerator

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(which("openssl") is None, reason="needs openssl to make a certificate"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Key and self-signed certificate for localhost."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True, timeout=60
    )
    return key, cert


@pytest.fixture(scope="module")
def secure(node: str, certificate: tuple[Path, Path]) -> Iterator[LoadTarget]:
    key, cert = certificate
    app = LoadTarget(node, env={"TLS_KEY": str(key), "TLS_CERT": str(cert)})
    yield app
    app.stop()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_known_authority_is_trusted(
    secure: LoadTarget, certificate: tuple[Path, Path], loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MEMORY_LOOP", loop)
    with LoadGenerator(secure.url, verify=certificate[1], concurrency=4) as load:
        assert load.run("/health", requests=200).ok
        assert load.run("/chunked", requests=20, keep_alive=False).ok
        assert load.run("/big", requests=10).ok
        assert load.run("/health", rate=100, requests=20).ok
        aborted = load.run("/big", requests=10, abort_after="10KB")
        assert (aborted.aborted, aborted.errors) == (10, 0)


def test_verification_may_be_turned_off(secure: LoadTarget) -> None:
    with LoadGenerator(secure.url, verify=False) as load:
        assert load.run("/health", requests=50).ok


def test_an_unknown_certificate_is_a_clear_message(secure: LoadTarget) -> None:
    with LoadGenerator(secure.url) as load, pytest.raises(LoadError) as caught:
        load.run("/health", requests=50)
    assert caught.value.slug == "load-target"
    assert "self-signed" in str(caught.value) or "self signed" in str(caught.value)
    assert "verify=" in str(caught.value)


def test_an_authority_that_is_no_file_is_a_clear_message(secure: LoadTarget) -> None:
    with LoadGenerator(secure.url, verify="missing.pem") as load, pytest.raises(LoadError, match="cannot be loaded"):
        load.run("/health", requests=50)


def test_scenarios_say_that_an_authority_is_no_file(secure: LoadTarget) -> None:
    async def visit(client: object) -> None:
        await client.get("/health")  # type: ignore[attr-defined]

    with LoadGenerator(secure.url, verify="missing.pem") as load:
        with pytest.raises(LoadError, match=r"load-target.*missing\.pem"):
            load.scenario(visit, iterations=1)


@pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed (pip install locust)")
def test_locust_says_that_an_authority_is_no_file(secure: LoadTarget) -> None:
    with LoadGenerator(secure.url, verify="missing.pem") as load:
        with pytest.raises(LoadError, match=r"load-target.*missing\.pem"):
            load.locust("/health", requests=5)


def test_plain_http_to_a_tls_port_is_an_error(secure: LoadTarget) -> None:
    with LoadGenerator(secure.url.replace("https", "http")) as load:
        assert load.run("/health", requests=5).errors == 5


def test_tls_to_a_plain_port_is_a_clear_message(target: LoadTarget) -> None:
    with LoadGenerator(target.url.replace("http", "https"), verify=False, timeout="2s") as load:
        with pytest.raises(LoadError) as caught:
            load.run("/health", requests=5)
    assert caught.value.slug == "load-target"


def test_scenarios_and_websockets_over_tls(secure: LoadTarget, certificate: tuple[Path, Path]) -> None:
    async def visit(client: object) -> None:
        await client.get("/health")  # type: ignore[attr-defined]

    with LoadGenerator(secure.url, verify=certificate[1]) as load:
        assert load.scenario(visit, iterations=3).ok
        assert load.websocket("/ws", receive=1, requests=3).ok
