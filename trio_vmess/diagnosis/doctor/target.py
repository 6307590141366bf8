"""What is requested through a server, to see whether it brings an answer."""

from urllib.parse import quote, urlsplit

import attrs

from trio_vmess.core import Destination, format_endpoint, parse_endpoint


@attrs.frozen(kw_only=True)
class Target:
    """What is requested through the server.

    Attributes:
        destination: where to.
        request: an HTTP request.
    """

    destination: Destination
    request: bytes

    def __str__(self) -> str:
        return format_endpoint(self.destination.host, self.destination.port)


def read_target(text: str) -> Target:
    """Read an `http://` URL, or `host:port`, which stands for `/` there.

    Raises:
        ValueError: it is neither.
    """
    if not text.isprintable() or " " in text or "@" in text:
        raise ValueError(f"{text!r} is not a valid target: no blanks, and no user in front of @")
    path = "/"
    if "://" in text:
        url = urlsplit(text)
        if url.scheme != "http" or not url.hostname:
            raise ValueError(f"{text!r} is not a valid target: expected http://HOST/… or HOST:PORT")
        text = url.netloc if url.port else f"{url.netloc.removesuffix(':')}:80"
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host, port = parse_endpoint(text)
    if not port:
        raise ValueError(f"{text!r} is not a valid target: port 0 cannot be reached")
    name = format_endpoint(host, port) if port != 80 else text.removesuffix(":80")
    path = quote(path, safe="/?:@!$&'()*+,;=-._~%[]")
    request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: trio-vmess\r\nAccept: */*\r\n"
    return Target(
        destination=Destination(host=host, port=port),
        request=f"{request}Connection: close\r\n\r\n".encode(),
    )
