"""How a body is protected: its keys in each direction, its framing, and the configuration words."""

import functools
from typing import Final, assert_never

import attrs

from trio_vmess.core.crypto import AES_KEY_SIZE, Aead, aes_gcm, chacha20_poly1305, md5, sha256
from trio_vmess.core.vmess.constants import (
    BODY_IV_SIZE,
    BODY_KEY_SIZE,
    Command,
    Label,
    Option,
    Security,
)
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.kdf import kdf
from trio_vmess.errors import LocalProtocolError


@attrs.frozen(kw_only=True)
class BodyKeys:
    """Key and IV of one direction, 16 bytes each."""

    key: bytes = attrs.field(repr=False)
    iv: bytes = attrs.field(repr=False)


def derive_response_keys(request: BodyKeys, *, aead_header: bool) -> BodyKeys:
    """Return the keys of the response; the form of the header decides, not the security."""
    if aead_header:
        return BodyKeys(
            key=sha256(request.key)[:BODY_KEY_SIZE], iv=sha256(request.iv)[:BODY_IV_SIZE]
        )
    return BodyKeys(key=md5(request.key), iv=md5(request.iv))


def _chacha20_key(key: bytes) -> bytes:
    first = md5(key)
    return first + md5(first)


def build_aead(security: Security, key: bytes) -> Aead:
    """Return the AEAD of a security under a 16-byte key.

    Raises:
        ValueError: the security is not one of the two AEADs.
    """
    match security:
        case Security.AES_128_GCM:
            return aes_gcm(key)
        case Security.CHACHA20_POLY1305:
            return chacha20_poly1305(_chacha20_key(key))
        case Security.AES_128_CFB | Security.NONE:
            raise ValueError(f"{security.word} is not an AEAD")
        case _:
            assert_never(security)


def build_length_aead(security: Security, request: BodyKeys) -> Aead:
    """Return the AEAD that seals chunk sizes (option A).

    Both directions use the request's key: see `chunk`.
    """
    return build_aead(security, kdf(request.key, Label.AUTHENTICATED_LENGTH_KEY)[:AES_KEY_SIZE])


@attrs.frozen(kw_only=True)
class Framing:
    """What the options of a request mean, for its security and command.

    Attributes:
        chunked: the body is cut into chunks; otherwise it is one raw stream.
        masked: sizes are masked with SHAKE-128.
        padded: chunks carry padding, its length drawn from SHAKE-128.
        authenticated_length: sizes are encrypted and authenticated, 18 bytes each.
        terminated: the writer ends with an empty chunk.
        packets: each chunk is one datagram.
    """

    chunked: bool
    masked: bool
    padded: bool
    authenticated_length: bool
    terminated: bool
    packets: bool


@functools.lru_cache(maxsize=256)
def choose_framing(options: int, security: Security, command: Command, dialect: Dialect) -> Framing:
    """Return the framing of a body; there are few, so they are cached.

    | security | S clear | S set, stream | S set, packets |
    |---|---|---|---|
    | aes-128-cfb | raw CFB stream | chunks with FNV, all inside one CFB stream | the same |
    | none | raw bytes | chunks; P is ignored | chunks; P holds |
    | AEADs | chunked all the same, without an end | chunked | chunked |

    Source:
        v2ray-core, proxy/vmess/encoding/server.go, DecodeRequestBody.
    """
    options &= dialect.options
    packets = command is Command.UDP
    chunk_stream = bool(options & Option.CHUNK_STREAM)
    chunked = chunk_stream or security.is_aead
    authenticated_length = bool(options & Option.AUTHENTICATED_LENGTH) and security.is_aead
    masked = chunked and bool(options & Option.MASK)
    return Framing(
        chunked=chunked,
        masked=masked and not authenticated_length,
        # QUIRK: a stream without encryption never has padding, P or not (v2ray-core,
        # proxy/vmess/encoding/server.go, DecodeRequestBody: SecurityType_NONE).
        padded=masked
        and bool(options & Option.PADDING)
        and (packets or security is not Security.NONE),
        authenticated_length=authenticated_length,
        terminated=chunk_stream,
        packets=packets,
    )


# Configuration ----------------------------------------------------------------------------------

SECURITY_WORDS: Final = (
    "auto",
    "aes-128-gcm",
    "chacha20-poly1305",
    "none",
    "zero",
    "aes-128-cfb",
)
_AES_MACHINES: Final = frozenset({"x86_64", "amd64", "aarch64", "arm64", "s390x"})


def choose_security(
    word: str,
    *,
    machine: str,
    command: Command,
    dialect: Dialect,
    padding: bool = True,
    authenticated_length: bool = False,
) -> tuple[Security, int]:
    """Turn a configuration word into the security and options that a client sends.

    Args:
        word: one of `SECURITY_WORDS`. `auto` is aes-128-gcm on AMD64, ARM64 and S390x, where the
            processor helps, and chacha20-poly1305 elsewhere. `zero` is none without chunks.
        machine: the processor, as `platform.machine()` names it.
        command: datagrams always need chunks.
        dialect: which option bits exist.
        padding: whether the AEADs pad their chunks.
        authenticated_length: whether the AEADs authenticate their chunk sizes; V2Ray before 4.41
            cannot read it.

    Raises:
        LocalProtocolError: the word is unknown.
    """
    match word:
        case "auto":
            has_aes = machine.lower() in _AES_MACHINES
            security = Security.AES_128_GCM if has_aes else Security.CHACHA20_POLY1305
        case "aes-128-gcm":
            security = Security.AES_128_GCM
        case "chacha20-poly1305":
            security = Security.CHACHA20_POLY1305
        case "zero":
            return Security.NONE, Option.CHUNK_STREAM if command is Command.UDP else 0
        case "none":
            return Security.NONE, (Option.CHUNK_STREAM | Option.MASK) & dialect.options
        case "aes-128-cfb":
            # QUIRK: the clients of V2Ray and sing-box send S alone for CFB (v2ray-core,
            # proxy/vmess/outbound/outbound.go; sing-vmess, client.go, dialRaw).
            return Security.AES_128_CFB, Option.CHUNK_STREAM
        case _:
            raise LocalProtocolError(
                f"security: {word!r} is unknown; expected one of {', '.join(SECURITY_WORDS)}"
            )
    options = Option.CHUNK_STREAM | Option.MASK
    if padding:
        options |= Option.PADDING
    if authenticated_length:
        options |= Option.AUTHENTICATED_LENGTH
    return security, options & dialect.options
