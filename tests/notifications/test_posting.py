"""One request to a receiver that may do anything: where it goes, how long it may take, what is read of the answer."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from notifications.channels import posting
from notifications.channels.posting import NotReached, ReceiverAnswer, post
from notifications.channels.reach import AddressRefused, Reach, target_of
from tests.notifications.receivers import Behaviour, answering, receiver, sending

OPEN = Reach.read(["127.0.0.0/8", "::1"])
BODY = b'{"kind":"ping"}'


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "SECONDS", 0.4)
    monkeypatch.setattr(posting, "BODY_SECONDS", 0.2)


def sent_to(url: str, reach: Reach = OPEN, **headers: str) -> ReceiverAnswer:
    return post(
        target_of(url),
        body=BODY,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        reach=reach,
    )


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets names have addresses: one list of them for each time that somebody asks; returns who asked."""
    asked: list[str] = []

    def have(*answers: list[str]) -> list[str]:
        left = list(answers)

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port))
                for one in left.pop(0)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return have


def test_a_request_is_whole_and_its_answer_is_kept() -> None:
    with receiver(answering(202, b"taken", Retry_After="7")) as one:
        assert sent_to(one.url, Headgate_Event="ping") == ReceiverAnswer(202, 7, "taken")
    [request] = one.received
    assert (request.target, request.body) == ("/hook?from=headgate", BODY)
    assert request.headers == {
        "host": f"127.0.0.1:{one.port}",
        "user-agent": "Headgate",
        "accept": "*/*",
        "connection": "close",
        "headgate-event": "ping",
        "content-length": str(len(BODY)),
    }


def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_led(
    names: Callable[..., list[str]],
) -> None:
    """DNS rebinding: whoever answers the second question leads it to the metadata service."""
    asked = names(["127.0.0.1"], ["169.254.169.254"])
    with receiver() as one:
        sent_to(f"http://rebinding.example:{one.port}/")
    assert asked == ["rebinding.example"]
    assert one.received[0].headers["host"] == f"rebinding.example:{one.port}"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1", "169.254.169.254"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fe80::1%lo"]],
)
def test_a_name_with_one_address_that_is_refused_is_refused(
    names: Callable[..., list[str]], addresses: list[str]
) -> None:
    names(addresses)
    with receiver() as one, pytest.raises(AddressRefused):
        sent_to(f"http://both.example:{one.port}/")
    assert one.received == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost"]
)
def test_this_machine_is_refused_however_it_is_written(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, port, **_: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]
    )
    with receiver() as one, pytest.raises(AddressRefused, match="not on the internet"):
        sent_to(f"http://{host}:{one.port}/", Reach())
    assert one.received == []


def test_a_second_address_is_tried_where_the_first_takes_no_connection(
    names: Callable[..., list[str]],
) -> None:
    names(["127.0.0.2", "127.0.0.1"])
    with receiver() as one:
        assert sent_to(f"http://two.example:{one.port}/").status == 200


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy, receiver() as one:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        sent_to(one.url)
    assert (len(proxy.received), len(one.received)) == (0, 1)


def test_a_redirect_is_not_followed() -> None:
    with receiver() as other, receiver(answering(307, b"", Location=other.url)) as one:
        assert sent_to(one.url).status == 307
    assert other.received == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "behave",
    [
        sending(b"", pause=0.7),
        sending(*[b"H"] * 20, pause=0.05),
        sending(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 20, pause=0.05),
        sending(*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 20, pause=0.05),
    ],
    ids=["silent", "drips its status", "drips headers", "never comes to the point"],
)
def test_one_that_takes_too_long_is_left_at_the_deadline(behave: Behaviour) -> None:
    started = time.monotonic()
    with receiver(behave) as one:
        with pytest.raises(NotReached, match="did not answer within"):
            sent_to(one.url)
        assert time.monotonic() - started < 0.6


@pytest.mark.usefixtures("impatient")
def test_a_body_that_drips_does_not_change_what_was_answered() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    with receiver(sending(head, *[b"z"] * 20, pause=0.05)) as one:
        answer = sent_to(one.url)
    assert answer.status == 200
    assert 1 <= len(answer.excerpt) <= 5


@pytest.mark.parametrize(
    ("behave", "sentence"),
    [
        (sending(b""), "closed before there was an answer"),
        (sending(b"SSH-2.0-OpenSSH_9.9\r\n"), "closed before there was an answer"),
        (sending(b"220 mail.example ESMTP\r\n\r\n"), "no HTTP answer"),
        (
            sending(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n"),
            "no HTTP answer|longer than",
        ),
        (sending(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000), "longer than"),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "no HTTP answer"),
    ],
)
def test_an_answer_that_is_none_is_told_as_none(behave: Behaviour, sentence: str) -> None:
    with receiver(behave) as one, pytest.raises(NotReached, match=sentence):
        sent_to(one.url)


def test_one_that_dies_in_the_middle_of_its_answer_has_answered() -> None:
    with receiver(sending(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf\0\xff")) as one:
        assert sent_to(one.url) == ReceiverAnswer(500, None, "half��")


def test_a_huge_answer_is_read_no_further_than_it_is_kept() -> None:
    with receiver(answering(200, b"x" * 10_000_000)) as one:
        assert sent_to(one.url) == ReceiverAnswer(200, None, "x" * posting.KEPT_BYTES)
    assert one.failures != []  # it could not send all of it


def test_one_that_nobody_listens_at_is_told_as_such() -> None:
    with receiver() as one:
        pass
    with pytest.raises(NotReached, match="The connection failed: Connection refused"):
        sent_to(one.url)


def test_a_name_that_has_no_address_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NotReached, match=r"gone\.example could not be looked up"):
        sent_to("https://gone.example/")


def test_looking_a_name_up_counts_as_the_rest_does(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        answered.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    try:
        with pytest.raises(NotReached, match=r"slow\.example could not be looked up"):
            sent_to("https://slow.example/")
        assert time.monotonic() - started < 5
    finally:
        answered.set()


# --- TLS: the address is pinned, the certificate is judged by the name ------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of hooks.example that is its own authority, and who speaks with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("hooks.example"), x509.IPAddress(ip_address("127.0.0.3"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context


def test_a_certificate_is_judged_by_the_name_and_the_name_is_told_to_the_receiver(
    authority: tuple[Path, ssl.SSLContext], names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, context = authority
    told: list[str] = []
    context.sni_callback = lambda _socket, name, _context: told.append(str(name))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names(["127.0.0.1"], ["127.0.0.1"])
    with receiver(context=context) as one:
        assert sent_to(f"https://hooks.example:{one.port}/").status == 200
        with pytest.raises(NotReached, match=r"certificate of other\.example does not hold"):
            sent_to(f"https://other.example:{one.port}/")
    assert told == ["hooks.example", "other.example"]
    assert len(one.received) == 1


def test_a_certificate_that_nobody_vouches_for_gets_nothing(
    authority: tuple[Path, ssl.SSLContext], names: Callable[..., list[str]]
) -> None:
    names(["127.0.0.1"])
    with receiver(context=authority[1]) as one, pytest.raises(NotReached, match="does not hold"):
        sent_to(f"https://hooks.example:{one.port}/")
    assert one.received == []


@pytest.mark.usefixtures("impatient")
def test_a_handshake_that_never_ends_ends_at_the_deadline() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    started = time.monotonic()
    taken: list[socket.socket] = []
    thread = threading.Thread(target=lambda: taken.append(listening.accept()[0]))
    thread.start()
    with pytest.raises(NotReached, match="did not answer within"):
        sent_to(f"https://127.0.0.1:{listening.getsockname()[1]}/")
    assert time.monotonic() - started < 0.6
    thread.join()
    taken[0].close()
    listening.close()
