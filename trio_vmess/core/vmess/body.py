"""From keys and framing to the codecs of a body, for streams and for datagrams."""

from collections.abc import Sequence

import attrs

from trio_vmess.core.codec import Codec, IdentityCodec
from trio_vmess.core.crypto import StreamCipher, cfb_decryptor, cfb_encryptor
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess.chunk import LengthCipher, build_size_stream, count_nonces
from trio_vmess.core.vmess.constants import Security
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.opener import AeadOpener, CipherOpener, PlainOpener
from trio_vmess.core.vmess.sealer import AeadSealer, CipherSealer, PlainSealer
from trio_vmess.core.vmess.security import BodyKeys, Framing, build_aead, build_length_aead
from trio_vmess.errors import LocalProtocolError


@attrs.frozen(kw_only=True)
class BodyPlan:
    """What both directions of one body share.

    Attributes:
        security: how payload is protected.
        framing: how it is cut.
        request: the request's keys; authenticated lengths use them in both directions.
        dialect: sets the largest chunk that is read.
    """

    security: Security
    framing: Framing
    request: BodyKeys
    dialect: Dialect


@attrs.frozen(kw_only=True)
class StreamBody:
    """The two codecs of a stream, ready for a pump.

    Attributes:
        opener: from the peer's bytes to payload.
        sealer: from payload to bytes for the peer.
        trailing: bytes of the peer that came with the header; to be fed to the opener first.
    """

    opener: Codec
    sealer: Codec
    trailing: bytes = attrs.field(repr=False)


class PacketOpener:
    """Turns bytes of the peer into datagrams.

    Args:
        codec: the opener of the direction.
        boundaries: the list that the codec appends the datagrams' sizes to; None for a body without
            chunks, where each piece of input is taken for a datagram, as V2Ray does.
    """

    def __init__(self, codec: Codec, boundaries: list[int] | None) -> None:
        self._codec = codec
        self._boundaries = boundaries

    @property
    def ended(self) -> bool:
        """True once the peer has sent the terminator."""
        return self._codec.ended

    def open(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the datagrams that are complete now, in their order.

        Raises:
            RemoteProtocolError: as `Codec.update_into`.
        """
        out = memoryview(bytearray(self._codec.output_size(len(data))))
        written = self._codec.update_into(data, out)
        if self._boundaries is None:
            return [bytes(out[:written])] if written else []
        datagrams: list[bytes] = []
        start = 0
        for size in self._boundaries:
            datagrams.append(bytes(out[start : start + size]))
            start += size
        self._boundaries.clear()
        return datagrams

    def finalize(self) -> None:
        """End the input.

        Raises:
            RemoteProtocolError: inside a datagram.
        """
        self._codec.finalize_into(memoryview(bytearray(self._codec.output_size(0))))


class PacketSealer:
    """Turns datagrams into bytes for the peer, one chunk each.

    Args:
        codec: the sealer of the direction.
        payload_max: the largest datagram that fits a chunk; None for a body without chunks.
    """

    def __init__(self, codec: Codec, payload_max: int | None) -> None:
        self._codec = codec
        self.payload_max = payload_max

    def restrict(self, payload_max: int) -> None:
        """Take no larger datagrams from now on, for a peer that cannot."""
        if self.payload_max is None or payload_max < self.payload_max:
            self.payload_max = payload_max

    def seal(self, datagram: bytes | bytearray | memoryview) -> bytes:
        """Return the datagram's chunk; nothing for an empty one, which would close the body.

        Raises:
            LocalProtocolError: it is larger than `payload_max`; the body's state is unchanged.
        """
        chunk, dropped = self.seal_all((datagram,))
        if dropped:
            raise LocalProtocolError(
                f"a datagram of {len(datagram)} bytes does not fit a chunk; "
                f"the limit is {self.payload_max}"
            )
        return bytes(chunk)

    def seal_all(
        self, datagrams: Sequence[bytes | bytearray | memoryview], *, prefix: bytes = b""
    ) -> tuple[memoryview, int]:
        """Return the chunks of some datagrams in one piece, and how many are too large.

        Args:
            datagrams: each becomes a chunk, except those that are too large or empty.
            prefix: goes before them.
        """
        limit, codec = self.payload_max, self._codec
        fitting = datagrams
        if limit is not None:
            fitting = [datagram for datagram in datagrams if len(datagram) <= limit]
        size = len(prefix)
        out = memoryview(bytearray(size + sum(map(codec.output_size, map(len, fitting)))))
        out[:size] = prefix
        update_into = codec.update_into
        for datagram in fitting:
            size += update_into(datagram, out[size:])
        return out[:size], len(datagrams) - len(fitting)

    def finalize(self) -> bytes:
        """Return what closes the body."""
        out = bytearray(self._codec.output_size(0))
        return bytes(out[: self._codec.finalize_into(memoryview(out))])


@attrs.frozen(kw_only=True)
class PacketBody:
    """The two codecs of a body of datagrams.

    Attributes:
        opener: from the peer's bytes to datagrams.
        sealer: from datagrams to bytes for the peer.
        trailing: bytes of the peer that came with the header; to be fed to the opener first.
    """

    opener: PacketOpener
    sealer: PacketSealer
    trailing: bytes = attrs.field(repr=False)


def _length_cipher(plan: BodyPlan) -> LengthCipher | None:
    if not plan.framing.authenticated_length:
        return None
    return build_length_aead(plan.security, plan.request), count_nonces(plan.request.iv)


def build_opener(
    plan: BodyPlan,
    keys: BodyKeys,
    *,
    cipher: StreamCipher | None = None,
    boundaries: list[int] | None = None,
) -> Codec:
    """Build the opener of one direction.

    Args:
        plan: the body.
        keys: this direction's.
        cipher: the CFB stream to continue, if the header began it; None for a new one.
        boundaries: takes the size of each payload, for datagrams.
    """
    framing, read_max = plan.framing, plan.dialect.chunk_read_max
    if plan.security.is_aead:
        opener = AeadOpener(
            build_aead(plan.security, keys.key),
            count_nonces(keys.iv),
            build_size_stream(keys.iv, framing),
            read_max,
            _length_cipher(plan),
        )
        opener.boundaries = boundaries
        return opener
    is_cfb = plan.security is Security.AES_128_CFB
    inner: Codec = IdentityCodec()
    if framing.chunked:
        plain = PlainOpener(build_size_stream(keys.iv, framing), read_max, has_checksum=is_cfb)
        plain.boundaries = boundaries
        inner = plain
    if is_cfb:
        return CipherOpener(cipher or cfb_decryptor(keys.key, keys.iv), inner)
    return inner


def build_sealer(
    plan: BodyPlan, keys: BodyKeys, entropy: Entropy, *, cipher: StreamCipher | None = None
) -> tuple[Codec, int | None]:
    """Build the sealer of one direction, the mirror of `build_opener`.

    Returns:
        The sealer, and the largest payload of one of its chunks (None where there are none).
    """
    framing = plan.framing
    if plan.security.is_aead:
        sealer = AeadSealer(
            build_aead(plan.security, keys.key),
            count_nonces(keys.iv),
            build_size_stream(keys.iv, framing),
            entropy,
            padded=framing.padded,
            terminated=framing.terminated,
            length_cipher=_length_cipher(plan),
        )
        return sealer, sealer.payload_max
    is_cfb = plan.security is Security.AES_128_CFB
    inner: Codec = IdentityCodec()
    payload_max = None
    if framing.chunked:
        plain = PlainSealer(
            build_size_stream(keys.iv, framing),
            entropy,
            padded=framing.padded,
            terminated=framing.terminated,
            has_checksum=is_cfb,
        )
        inner, payload_max = plain, plain.payload_max
    if is_cfb:
        return CipherSealer(cipher or cfb_encryptor(keys.key, keys.iv), inner), payload_max
    return inner, payload_max
