import socket
import ssl
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from devcluster.local.certificates import Authority, Pair


def test_a_client_certificate_names_its_user_and_groups() -> None:
    pair = Authority.new("test").client("system:node:node1", "system:nodes")
    subject = x509.load_pem_x509_certificate(pair.certificate.encode()).subject
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [
        "system:node:node1"
    ]
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "system:nodes"
    ]


def test_an_authority_signs_the_same_after_it_was_stored(tmp_path: Path) -> None:
    stored = Authority.new("test").pair
    server = Authority(stored).server("server", ["localhost", IPv4Address("127.0.0.1")])
    client = Authority(stored).client("someone")
    assert handshake(tmp_path, stored, server, client, "127.0.0.1") == "someone"


def test_a_stranger_is_refused(tmp_path: Path) -> None:
    authority, stranger = Authority.new("test"), Authority.new("stranger")
    server = authority.server("server", ["127.0.0.1"])
    with pytest.raises(OSError, match=r"(?i)certificate|unknown ca"):
        handshake(tmp_path, authority.pair, server, stranger.client("someone"), "127.0.0.1")


def test_a_server_is_trusted_under_its_own_names_only(tmp_path: Path) -> None:
    authority = Authority.new("test")
    server = authority.server("server", ["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, authority.pair, server, authority.client("someone"), "127.0.0.1")


def handshake(folder: Path, authority: Pair, server: Pair, client: Pair, host: str) -> str:
    """Does a mutual TLS handshake over 127.0.0.1; returns the name by which the server knows the client."""
    paths = {}
    for name, text in {
        "ca.crt": authority.certificate,
        "server.crt": server.certificate,
        "server.key": server.key,
        "client.crt": client.certificate,
        "client.key": client.key,
    }.items():
        paths[name] = folder / name
        paths[name].write_text(text)
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=paths["ca.crt"])
    accepting.verify_mode = ssl.CERT_REQUIRED
    accepting.load_cert_chain(paths["server.crt"], paths["server.key"])
    connecting = ssl.create_default_context(cafile=paths["ca.crt"])
    connecting.load_cert_chain(paths["client.crt"], paths["client.key"])

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                with accepting.wrap_socket(connection, server_side=True) as secure:
                    certificate = secure.getpeercert(binary_form=True) or b""
                    name = x509.load_der_x509_certificate(certificate).subject
                    secure.sendall(str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value).encode())
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as connection,
                connecting.wrap_socket(connection, server_hostname=host) as secure,
            ):
                return secure.recv(100).decode()
        finally:
            thread.join()
