"""What differs between the original protocol documents and what implementations send.

The documents were written before the code settled. `V2RAY` is what V2Ray, Xray and sing-box put on
the wire, and the default everywhere. `DOCUMENT` follows the documents to the letter; both ends must
be configured for it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from trio_vmess.core.vmess.constants import (
    CHUNK_READ_MAX,
    CHUNK_WRITE_MAX,
    Command,
    Option,
    Security,
)


@attrs.frozen(kw_only=True, eq=False)
class Dialect:
    """One row for each point on which the two differ.

    Attributes:
        name: the word for configurations.
        security_codes: what each legal code of the header's security nibble means.
        has_aead_header: AEAD headers exist; accounts without alter ids use nothing else.
        main_id_authenticates: a legacy client uses its main id, whether or not it has alter ids.
        options: the option bits that have a meaning.
        needs_chunk_stream: masking works only with the chunk stream, and an AEAD body needs it;
            otherwise an AEAD body is chunked without it, too.
        commands: the legal commands.
        checks_reserved: the reserved byte must be 0.
        chunk_read_max: the largest chunk size that is accepted.
        switch_account_has_host: the dynamic-port command begins with a checksum and a host;
            otherwise with one reserved byte.
    """

    name: str
    security_codes: Mapping[int, Security]
    has_aead_header: bool
    main_id_authenticates: bool
    options: int
    needs_chunk_stream: bool
    commands: frozenset[Command]
    checks_reserved: bool
    chunk_read_max: int
    switch_account_has_host: bool

    def security_code(self, security: Security) -> int:
        """Return the code that this dialect writes for `security`."""
        return _SECURITY_CODES[self.name][security]


V2RAY: Final = Dialect(
    name="v2ray",
    security_codes=MappingProxyType(
        {
            0: Security.AES_128_CFB,  # QUIRK: V2Ray reads "unknown" as CFB (encoding/server.go)
            1: Security.AES_128_CFB,
            3: Security.AES_128_GCM,
            4: Security.CHACHA20_POLY1305,
            5: Security.NONE,
        }
    ),
    has_aead_header=True,
    main_id_authenticates=False,
    options=Option.CHUNK_STREAM | Option.MASK | Option.PADDING | Option.AUTHENTICATED_LENGTH,
    needs_chunk_stream=False,
    commands=frozenset(Command),
    checks_reserved=False,
    chunk_read_max=CHUNK_READ_MAX,
    switch_account_has_host=True,
)

DOCUMENT: Final = Dialect(
    name="document",
    security_codes=MappingProxyType(
        {
            0: Security.AES_128_CFB,
            1: Security.NONE,
            2: Security.AES_128_GCM,
            3: Security.CHACHA20_POLY1305,
        }
    ),
    has_aead_header=False,
    main_id_authenticates=True,
    options=Option.CHUNK_STREAM | Option.MASK,
    needs_chunk_stream=True,
    commands=frozenset({Command.TCP, Command.UDP}),
    checks_reserved=True,
    chunk_read_max=CHUNK_WRITE_MAX,
    switch_account_has_host=False,
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (V2RAY, DOCUMENT)}
)

_SECURITY_CODES: Final = {
    # The last code wins: V2Ray writes 1, not 0, for CFB.
    dialect.name: {security: code for code, security in dialect.security_codes.items()}
    for dialect in DIALECTS.values()
}
