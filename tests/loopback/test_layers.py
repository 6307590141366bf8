"""VMess over every transport between two nodes of this project."""

import pytest

from tests.kit.certificates import write_certificate
from tests.kit.exchanges import check_all
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.peer_specs import ClientSpec
from trio_vmess.config import CertificateSettings, StreamSettings, TlsSettings

NAME = "server.example"


def tls_pair(folder) -> tuple[TlsSettings, TlsSettings]:
    """Return the settings of a server and of a client that knows it."""
    files = write_certificate(folder, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    root = CertificateSettings(certificate_file=str(files.root))
    return (
        TlsSettings(certificates=(own,)),
        TlsSettings(server_name=NAME, roots=(root,), disable_system_root=True),
    )


@pytest.mark.parametrize("security", ["aes-128-gcm", "none", "zero"])
async def test_everything_goes_through_tls(tmp_path, security: str) -> None:
    for_server, for_client = tls_pair(tmp_path)
    async with (
        start_server_node(stream=StreamSettings(tls=for_server)) as server,
        start_client_node(
            ClientSpec(server_port=server.port, security=security),
            stream=StreamSettings(tls=for_client),
        ) as client,
    ):
        await check_all(client.port)
