"""The guard that keeps every test off the network."""

import socket

import pytest

from tests.network_guard import NetworkBlockedError, is_local

DOCUMENTATION_ADDRESS = "192.0.2.1"  # RFC 5737: belongs to nobody


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", None, "", b"127.0.0.1"])
def test_the_machine_itself_is_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", [DOCUMENTATION_ADDRESS, "2001:db8::1", "example.invalid", "10.0.0.1"])
def test_everything_else_is_not(host: object) -> None:
    assert not is_local(host)


def test_connections_look_ups_and_datagrams_to_elsewhere_are_refused() -> None:
    with pytest.raises(NetworkBlockedError, match=DOCUMENTATION_ADDRESS):
        socket.create_connection((DOCUMENTATION_ADDRESS, 80), timeout=1)
    with pytest.raises(NetworkBlockedError, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 443)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, pytest.raises(NetworkBlockedError):
        sender.sendto(b"", (DOCUMENTATION_ADDRESS, 53))


def test_loopback_and_unix_sockets_work() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=1) as client,
    ):
        assert client.getpeername() == server.getsockname()
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"
