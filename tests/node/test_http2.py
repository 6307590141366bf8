"""Strangers at a port of HTTP/2."""

import pytest

from trio_vmess.node.http2 import respond_as_nginx
from trio_vmess.transport.http2 import Request


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("POST", 404), ("PUT", 405)])
async def test_they_get_what_nginx_answers(method: str, status: int) -> None:
    request = Request(method=method, scheme="https", authority="node.example", path="/")
    response = await respond_as_nginx(request)
    assert response.status == status
    assert [name for name, _ in response.fields] == [
        *(b"server", b"date", b"content-type", b"content-length"),
    ]
    assert response.find(b"content-length") == str(len(response.body))
    assert b"<center>nginx</center>" in response.body
