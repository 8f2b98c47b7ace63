"""The recipe's nginx block in a real nginx, in front of a real gateway."""

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio import to_thread

from recipes import loader, render
from recipes.front_matter import Kind
from tests.cli import stub
from tests.support import gateway

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="no nginx here"),
]
NAME = "models.example.org"
AROUND = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    # The gateway asks for no buffering by itself; here the recipe has to do it alone.
    proxy_ignore_headers X-Accel-Buffering;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {block}
}}
"""


def written(folder: Path, url: str, port: int) -> Path:
    """The recipe's block with an address and a certificate of this machine's."""
    folder.mkdir()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    made += ["-subj", f"/CN={NAME}", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(made, check=True, capture_output=True)
    recipe = loader.find(Kind.SERVICE, "reverse-proxy")
    block = render.render(recipe, render.Values(url, "slow")).blocks["nginx"]
    issued = f"/etc/letsencrypt/live/{NAME}"
    for ours, theirs in [
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (f"{issued}/fullchain.pem", str(certificate)),
        (f"{issued}/privkey.pem", str(key)),
    ]:
        assert ours in block
        block = block.replace(ours, theirs)
    file = folder / "nginx.conf"
    file.write_text(AROUND.format(folder=folder, block=block))
    return file


@contextlib.asynccontextmanager
async def proxied(folder: Path, url: str) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of that proxy, once it listens."""
    port = gateway.free_port()
    file = await to_thread.run_sync(written, folder, url, port)
    process = await anyio.open_process(
        [str(NGINX), "-p", str(folder), "-c", str(file)], stdout=None, stderr=subprocess.STDOUT
    )
    try:
        with anyio.fail_after(stub.LIMIT_S):
            while True:
                assert process.returncode is None, (folder / "error.log").read_text()
                with contextlib.suppress(OSError):
                    await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                    break
                await anyio.sleep(0.02)
        trusting = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        trusting.check_hostname = False  # it is for a name that leads elsewhere
        async with httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{port}",
            headers={"Host": NAME, "Authorization": "Bearer " + "k" * 40},
            verify=trusting,
            timeout=stub.LIMIT_S,
            trust_env=False,
        ) as client:
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def test_what_waits_and_what_comes_is_seen_at_once_through_the_proxy(tmp_path: Path) -> None:
    port = gateway.free_port()
    config: dict[str, Any] = {
        "runtimes": {"slow": gateway.fake("slow", tmp_path, tokens=9, stall_after=3)},
        "server": {"port": port, "allowed_hosts": [NAME], "keys": {"main": "k" * 40}},
    }
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with gateway.gateway(config, tmp_path) as here:
        here.port = port
        await here.spawn()
        async with proxied(tmp_path / "nginx", here.url) as client:
            with anyio.fail_after(stub.LIMIT_S):
                while (await client.get("/ready")).status_code != 200:  # 502 until it listens
                    await anyio.sleep(0.05)
                # This engine says three words and then nothing for ever: who waits for a buffer to
                # fill, or for the end, sees neither them nor the sign that the second one waits.
                async with client.stream("POST", "/v1/chat/completions", json=body) as first:
                    assert first.status_code == 200
                    assert await line(first, "data: ")
                    async with client.stream("POST", "/v1/chat/completions", json=body) as second:
                        assert await line(second, ": ")
            without = await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
            assert without.status_code == 401
            stranger = await client.get("/v1/models", headers={"Host": "evil.example"})
            assert stranger.status_code in {403, 421}


async def line(answer: httpx2.Response, start: str) -> str:
    async for one in answer.aiter_lines():
        if one.startswith(start):
            return one
    raise AssertionError(f"the answer ended without {start!r}")
