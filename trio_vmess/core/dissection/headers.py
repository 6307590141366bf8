"""The two headers of a recorded connection, from the first bytes of each direction."""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.crypto import StreamCipher, aes_block_decryptor, cfb_decryptor
from trio_vmess.core.dissection.findings import (
    RequestFound,
    ResponseFound,
    Unreadable,
    Unrecognised,
)
from trio_vmess.core.dissection.user_hash import UserHashSearch
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import read_auth_time
from trio_vmess.core.vmess.constants import AUTH_SIZE, REQUEST_HEADER_MAX
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.events import HeaderForm
from trio_vmess.core.vmess.foreign_protocol import recognise
from trio_vmess.core.vmess.header import (
    AEAD_REQUEST_MAX,
    decode_request_header,
    decrypt_legacy_header,
    open_aead_header,
)
from trio_vmess.core.vmess.response import (
    AEAD_RESPONSE_MAX,
    RESPONSE_FIXED_SIZE,
    decode_response_header,
    open_response_header,
    response_header_size,
)
from trio_vmess.core.vmess.security import BodyKeys
from trio_vmess.errors import AuthenticationError, RemoteProtocolError

REQUEST_MAX: Final = max(AEAD_REQUEST_MAX, AUTH_SIZE + REQUEST_HEADER_MAX)
RESPONSE_MAX: Final = AEAD_RESPONSE_MAX
"""Bytes that a header has at most."""

_COMMAND_OFFSET: Final = 2


class RequestReader:
    """Finds the request header.

    Args:
        account: the user; its alter ids are those that legacy headers are looked up under.
        dialect: which VMess is spoken.
        hashes: of the same account; shared by all connections, because it remembers.
    """

    def __init__(self, account: Account, dialect: Dialect, hashes: UserHashSearch) -> None:
        self._account = account
        self._dialect = dialect
        self._hashes = hashes
        self._form: HeaderForm | None = None
        self._timestamp = 0
        self._alter_id: int | None = None

    def read(self, data: bytes, *, now: int) -> RequestFound | Unreadable | Unrecognised | NeedData:
        """Read the header from the front of a connection.

        Args:
            data: all that has come so far, or the first `REQUEST_MAX` bytes of it.
            now: UTC seconds at which the last of it came.
        """
        if len(data) < AUTH_SIZE:
            return NEED_DATA
        if self._form is None and (failure := self._authenticate(data, now)) is not None:
            return failure
        key = self._account.cmd_key
        try:
            if self._form is HeaderForm.AEAD:
                opened = open_aead_header(data, key)
                if opened is NEED_DATA:
                    return NEED_DATA
                plain, size = opened
                decoded = decode_request_header(plain, self._dialect)
                if decoded is NEED_DATA:
                    return self._broken("it is too short")
                header = decoded[0]
            else:
                plain = decrypt_legacy_header(data[AUTH_SIZE:], key, self._timestamp)
                decoded = decode_request_header(plain, self._dialect)
                if decoded is NEED_DATA:
                    return NEED_DATA
                header, size = decoded[0], AUTH_SIZE + decoded[1]
        except AuthenticationError as exc:
            return self._broken(str(exc))
        except RemoteProtocolError as exc:
            return self._broken(f"it opens, but servers refuse it: {exc}")
        return RequestFound(
            size=size,
            form=HeaderForm.LEGACY if self._form is None else self._form,
            timestamp=self._timestamp,
            now=now,
            alter_id=self._alter_id,
            header=header,
        )

    def _authenticate(self, data: bytes, now: int) -> Unrecognised | None:
        """Find form, time and id; return why they cannot be found."""
        auth = data[:AUTH_SIZE]
        if self._dialect.has_aead_header:
            timestamp = read_auth_time(aes_block_decryptor(self._account.auth_id_key).update(auth))
            if timestamp is not None:
                self._form, self._timestamp = HeaderForm.AEAD, timestamp
                return None
        if (protocol := recognise(data)) is not None:
            return Unrecognised(reason=f"this is {protocol}, not VMess", protocol=protocol)
        found = self._hashes.find(auth, now=now)
        if found is None:
            aead = "an AEAD header of this id, nor with " if self._dialect.has_aead_header else ""
            return Unrecognised(
                reason=f"it does not begin with {aead}a legacy header of {self._hashes.reach}: "
                "another id or time, or not VMess"
            )
        self._form = HeaderForm.LEGACY
        self._timestamp, self._alter_id = found
        return None

    def _broken(self, reason: str) -> Unreadable:
        form = "an AEAD" if self._form is HeaderForm.AEAD else "a legacy"
        return Unreadable(
            offset=0,
            reason=f"{form} header of this id, made at {self._timestamp} (UTC seconds); {reason}",
        )


class ResponseReader:
    """Reads the response header.

    Args:
        keys: the response's.
        request: what is answered.
        dialect: which VMess is spoken.

    Attributes:
        cipher: behind a legacy header, the CFB stream that has encrypted it.
    """

    def __init__(self, keys: BodyKeys, request: RequestFound, dialect: Dialect) -> None:
        self.cipher: StreamCipher | None = None
        self._keys = keys
        self._request = request
        self._dialect = dialect

    def read(self, data: bytes) -> ResponseFound | Unreadable | NeedData:
        """Read the header from the front of the answer.

        Args:
            data: all that has come so far, or the first `RESPONSE_MAX` bytes of it.
        """
        is_aead = self._request.form is HeaderForm.AEAD
        try:
            opened = open_response_header(data, self._keys) if is_aead else self._open_legacy(data)
            if opened is NEED_DATA:
                return NEED_DATA
            plain, size = opened
            header = decode_response_header(
                plain, self._request.header.response_auth, self._dialect
            )
        except RemoteProtocolError as exc:
            return Unreadable(offset=0, reason=str(exc))
        return ResponseFound(size=size, header=header, command=plain[_COMMAND_OFFSET])

    def _open_legacy(self, data: bytes) -> tuple[bytes, int] | NeedData:
        if len(data) < RESPONSE_FIXED_SIZE:
            return NEED_DATA
        cipher = cfb_decryptor(self._keys.key, self._keys.iv)
        plain = cipher.update(data[:RESPONSE_FIXED_SIZE])
        size = response_header_size(plain)
        # Nothing else authenticates it: a wrong first byte means that its length is noise, too.
        if plain[0] != self._request.header.response_auth:
            return plain.ljust(size, b"\0"), size
        if len(data) < size:
            return NEED_DATA
        self.cipher = cipher
        return plain + cipher.update(data[RESPONSE_FIXED_SIZE:size]), size
