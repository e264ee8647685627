"""The encryption is the documented one, and whatever is altered is noticed."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from dumbkv_server.crypto import (
    NO_PEPPER,
    CannotOpenError,
    Keyring,
    Locator,
    Pepper,
    legacy_row_key,
    open_legacy,
)

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
KEYS = st.text(st.characters(exclude_categories=["Cs"]))
DATABASES = st.integers(0, 2147483647)


@pytest.mark.parametrize("vector", VECTORS["version 1"])
def test_the_committed_vectors_hold(vector: dict[str, str]) -> None:
    pepper = Pepper(int(vector["pepper number"]), bytes.fromhex(vector["pepper"]))
    (locator,) = Keyring((pepper,)).locate(int(vector["database"]), vector["key"])
    assert locator.row_id.hex() == vector["row id"]
    assert locator.value_key.hex() == vector["value key"]
    sealed = locator.seal(vector["value"].encode(), bytes.fromhex(vector["nonce"]))
    assert sealed.hex() == vector["blob"]
    assert locator.open(sealed) == vector["value"].encode()


@pytest.mark.parametrize("vector", VECTORS["version 1"])
def test_the_committed_vectors_are_what_others_compute(vector: dict[str, str]) -> None:
    """With the library's own HKDF and AES-GCM, and none of the server's code."""
    pepper, number = bytes.fromhex(vector["pepper"]), int(vector["pepper number"])
    row_id, value_key = (
        HKDF(SHA256(), 32, pepper, info + int(vector["database"]).to_bytes(4, "big")).derive(
            vector["key"].encode()
        )
        for info in (b"dumbkv/v1/row-id", b"dumbkv/v1/value-key")
    )
    assert (row_id.hex(), value_key.hex()) == (vector["row id"], vector["value key"])
    nonce, header = bytes.fromhex(vector["nonce"]), bytes((1, number))
    sealed = AESGCM(value_key).encrypt(nonce, vector["value"].encode(), header + row_id)
    assert (header + nonce + sealed).hex() == vector["blob"]


@pytest.mark.parametrize("vector", VECTORS["original"])
def test_the_vectors_of_the_original_are_what_its_code_computes(vector: dict[str, str]) -> None:
    """The row key as the original makes it, and its library for the value."""
    row_key = base64.urlsafe_b64encode(hashlib.sha256(vector["key"].encode()).hexdigest()[:32].encode())
    assert row_key.decode() == vector["row key"]
    assert Fernet(row_key).decrypt(vector["token"]).decode() == vector["value"]


@pytest.mark.parametrize("vector", VECTORS["original"])
def test_the_committed_vectors_of_the_original_hold(vector: dict[str, str]) -> None:
    assert legacy_row_key(vector["key"]) == vector["row key"]
    assert open_legacy(vector["row key"], vector["token"]) == vector["value"].encode()


@given(KEYS, DATABASES, st.binary(min_size=32, max_size=32))
def test_row_id_and_value_key_are_rfc_5869(key: str, database: int, secret: bytes) -> None:
    def hkdf(info: bytes) -> bytes:
        return HKDF(SHA256(), 32, secret, info + database.to_bytes(4, "big")).derive(key.encode())

    (locator,) = Keyring((Pepper(1, secret),)).locate(database, key)
    assert locator.row_id == hkdf(b"dumbkv/v1/row-id")
    assert locator.value_key == hkdf(b"dumbkv/v1/value-key")


@given(KEYS, DATABASES, st.binary(max_size=200))
def test_a_blob_is_header_nonce_and_aes_gcm_bound_to_its_row(key: str, database: int, value: bytes) -> None:
    (locator,) = Keyring((Pepper(7, b"p" * 32),)).locate(database, key)
    blob = locator.seal(value)
    assert blob[:2] == b"\x01\x07"
    opened = AESGCM(locator.value_key).decrypt(blob[2:14], blob[14:], b"\x01\x07" + locator.row_id)
    assert opened == locator.open(blob) == value


@given(st.binary(max_size=64), st.data())
def test_any_edit_or_truncation_of_a_blob_is_noticed(value: bytes, data: st.DataObject) -> None:
    locator = _locator()
    blob = bytearray(locator.seal(value))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotOpenError):
        locator.open(bytes(blob))
    with pytest.raises(CannotOpenError):
        locator.open(locator.seal(value)[:position])


@pytest.mark.parametrize(
    "other",
    [
        Keyring((Pepper(1, b"p" * 32),)).locate(0, "another key")[0],
        Keyring((Pepper(1, b"p" * 32),)).locate(1, "k")[0],
        Keyring((Pepper(1, b"q" * 32),)).locate(0, "k")[0],
        Keyring((Pepper(2, b"p" * 32),)).locate(0, "k")[0],
        Keyring(()).locate(0, "k")[0],
    ],
    ids=["row swap", "database", "pepper", "pepper number", "no pepper"],
)
def test_a_blob_opens_only_at_its_own_place(other: Locator) -> None:
    with pytest.raises(CannotOpenError):
        other.open(_locator().seal(b"value"))


def test_two_seals_of_one_value_differ() -> None:
    assert _locator().seal(b"value") != _locator().seal(b"value")


def test_a_key_has_one_place_for_each_pepper_newest_first() -> None:
    newest, oldest = Pepper(2, b"n" * 32), Pepper(1, b"o" * 32)
    both = Keyring((newest, oldest)).locate(0, "k")
    assert both == Keyring((newest,)).locate(0, "k") + Keyring((oldest,)).locate(0, "k")


def test_without_a_pepper_the_salt_is_zeros_and_the_number_zero() -> None:
    assert Keyring(()).peppers == (Pepper(0, NO_PEPPER),)


def test_an_altered_token_of_the_original_is_noticed() -> None:
    vector = VECTORS["original"][0]
    with pytest.raises(CannotOpenError):
        open_legacy(vector["row key"], vector["token"][:-4] + "AAAA")


def _locator() -> Locator:
    return Keyring((Pepper(1, b"p" * 32),)).locate(0, "k")[0]
