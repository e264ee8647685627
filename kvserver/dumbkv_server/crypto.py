"""From a key to a row id and a value key; sealing and opening values. Pure: no input or output.

    PRK     = HKDF-Extract(SHA-256, salt = pepper or zeros, IKM = UTF-8 key)
    row id  = HKDF-Expand(PRK, "dumbkv/v1/row-id" || database, 32)      stored
    vkey    = HKDF-Expand(PRK, "dumbkv/v1/value-key" || database, 32)   never stored
    blob    = format 0x01 || pepper number || nonce(12) || AES-256-GCM(vkey, value)
              with AAD = format || pepper number || row id

`database` is four bytes, most significant first. HKDF is RFC 5869; as 32 bytes are one block of SHA-256,
HKDF-Expand is a single HMAC. HMAC is RFC 2104, written out here: two hashes take half the time of a call of
OpenSSL's HMAC, and three of those were a tenth of a request.
"""

import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

FORMAT = 1
BLOCK_BYTES = 64
INNER_PAD, OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
NONCE_BYTES = 12
HEADER_BYTES = 2 + NONCE_BYTES
TAG_BYTES = 16
PEPPER_BYTES = 32
NO_PEPPER = bytes(PEPPER_BYTES)

ROW_ID_INFO = b"dumbkv/v1/row-id"
VALUE_KEY_INFO = b"dumbkv/v1/value-key"
FINGERPRINT_INFO = b"dumbkv/v1/pepper-fingerprint"
FIRST_BLOCK = b"\x01"


class CannotOpenError(Exception):
    """A stored value is not what was stored for this key: altered, moved, or under another pepper."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """A secret that is kept outside the database. Number 0 is 'no pepper': a salt of zeros."""

    number: int
    secret: bytes

    def fingerprint(self) -> bytes:
        """Sixteen bytes that recognise this pepper and tell nothing about it."""
        return hmac_sha256(self.secret, FINGERPRINT_INFO)[:16]


class Locator(Struct, frozen=True):
    """Where one key's row is under one pepper, and the key that opens its value."""

    pepper_number: int
    row_id: bytes
    value_key: bytes

    def _header(self) -> bytes:
        return bytes((FORMAT, self.pepper_number))

    def seal(self, value: bytes, nonce: bytes | None = None) -> bytes:
        """Encrypt a value for this row. A nonce is given only by tests."""
        header = self._header()
        nonce = nonce or os.urandom(NONCE_BYTES)
        return header + nonce + AESGCM(self.value_key).encrypt(nonce, value, header + self.row_id)

    def open(self, blob: bytes) -> bytes:
        """Decrypt what `seal` made for this row; CannotOpenError where it is anything else."""
        header = self._header()
        if len(blob) < HEADER_BYTES + TAG_BYTES or blob[:2] != header:
            raise CannotOpenError("the stored value has an unknown format or another pepper's number")
        nonce, ciphertext = blob[2:HEADER_BYTES], blob[HEADER_BYTES:]
        try:
            return AESGCM(self.value_key).decrypt(nonce, ciphertext, header + self.row_id)
        except InvalidTag:
            raise CannotOpenError("the stored value fails its authentication") from None


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 of a key of at most 64 bytes (RFC 2104)."""
    block = key.ljust(BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(INNER_PAD) + message).digest()
    return sha256(block.translate(OUTER_PAD) + inner).digest()


class Keyring:
    """The peppers, newest first: writes use the newest, reads try each."""

    def __init__(self, peppers: tuple[Pepper, ...]) -> None:
        self.peppers = peppers or (Pepper(0, NO_PEPPER),)

    def locate(self, database: int, key: str) -> tuple[Locator, ...]:
        """Where this key may be found, one place for each pepper, newest first."""
        number = database.to_bytes(4, "big")
        row_id_info = ROW_ID_INFO + number + FIRST_BLOCK
        value_key_info = VALUE_KEY_INFO + number + FIRST_BLOCK
        material = key.encode()
        locators = []
        for pepper in self.peppers:
            prk = hmac_sha256(pepper.secret, material)
            row_id = hmac_sha256(prk, row_id_info)
            value_key = hmac_sha256(prk, value_key_info)
            locators.append(Locator(pepper.number, row_id, value_key))
        return tuple(locators)

    def fingerprints(self) -> dict[int, bytes]:
        """Pepper number to fingerprint, so that a store can refuse peppers that are not its own."""
        return {pepper.number: pepper.fingerprint() for pepper in self.peppers}


def legacy_row_key(key: str) -> str:
    """The row key of the original DumbKV: a Fernet key from the first 32 hex digits of SHA-256(key)."""
    return urlsafe_b64encode(sha256(key.encode()).hexdigest()[:32].encode()).decode()


def open_legacy(row_key: str, token: str) -> bytes:
    """Decrypt a value of the original DumbKV; CannotOpenError where it was altered."""
    try:
        return Fernet(row_key).decrypt(token)
    except InvalidToken:
        raise CannotOpenError("the stored value of the original DumbKV fails its authentication") from None
