"""An inventory that cannot be had is an error with a reason, never an empty success.

There is no ansible.cfg here that would help.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.callboard.callboard.plugins.plugin_utils import answers, options, problems

from .conftest import TOKEN, Answer, Service, answer, assert_clean_failure, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Controller

PLAY = "- {hosts: all, gather_facts: false, tasks: [debug: {msg: ran}]}"
GZIP = {"Content-Encoding": "gzip"}
GOOD = json.dumps(answer()).encode()


def bomb() -> bytes:
    """More than 256 MB in less than 1."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(b" " * 1024**2) for _ in range(257)) + packer.flush()


REPLIES = {
    "401": (problem(401, "The token is unknown."), "was not accepted (401: The token is unknown.); set"),
    "403": (problem(403, "Not your project."), "may not read this stage (403: Not your project.); use"),
    "404": (problem(404, "No such stage."), "there is no such stage (404: No such stage.); correct"),
    "500": (
        problem(500, f"oops\x1b[31m {TOKEN}"),
        "the service failed (500: oops?[31m …); look into its log",
    ),
    "html": (Answer(b"<html>Sign in</html>"), "the answer is not JSON; check that 'url'"),
    "cut": (Answer(GOOD, cut=9), "the answer ended too early; try again"),
    "too large": (Answer(bomb(), headers=GZIP), "the answer is larger than 256 MB"),
    "too late": (Answer(GOOD, delay=2), "no complete answer came in time (the timeout is 0.2 s); check"),
    "other shape": (Answer(b"[]"), "not acceptable: the answer is not an object; check"),
    "other host": (
        Answer(GOOD.replace(b"ansible_port", b"ansible_connection")),
        "host web-1 has a variable or value that is not allowed: ansible_connection",
    ),
}
MORE_REPLIES = {
    "422": (problem(422, "No such state."), "the service refused the request (422: No such state.)"),
    "429": (problem(429, ""), "the service has had too many requests (429)"),
    "503": (Answer(b"<h1>Bad</h1>", 503), "the service failed (503)"),
    "304": (Answer(status=304), "the service redirects to nowhere (304)"),
    "NaN": (Answer(GOOD.replace(b"512", b"NaN")), "is not JSON"),
    "brackets": (Answer(b"[" * 200_000), "is not JSON"),
    "long number": (Answer(GOOD.replace(b"512", b"5" * 5000)), "is not JSON"),
    "half characters": (Answer(GOOD.replace(b'"a"', b'"\\ud800"')), "is not JSON"),
    "nothing": (Answer(b""), "is not JSON"),
    "latin-1": (Answer(b'"\xe9"'), "the answer is not text in UTF-8"),
    "cut gzip": (Answer(gzip.compress(GOOD)[:-12], headers=GZIP), "the answer ended too early"),
    "damaged gzip": (Answer(b"no gzip", headers=GZIP), "the answer's gzip is damaged"),
    "other packing": (
        Answer(GOOD, headers={"Content-Encoding": "br"}),
        "the encoding br, which was not asked for",
    ),
    "drip": (Answer(GOOD, drip=0.02), "no complete answer came in time (the timeout is 0.1 s)"),
    "other stage": (
        Answer(json.dumps(answer("shop/other")).encode()),
        "the answer is about stage shop/other",
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_it_ends_with_an_error_on_a_bad_answer(controller: Controller, service: Service, name: str) -> None:
    told, words = REPLIES[name]
    controller.configure(url=service.url, timeout=0.2 if told.delay else 20)
    service.say(told)
    message = controller.fail("-vvv")
    assert f"Cannot get the inventory of stage shop/production from {service.url}: " in message
    assert words in message


@pytest.mark.parametrize("name", MORE_REPLIES)
def test_it_rejects_other_bad_answers(service: Service, name: str) -> None:
    told, words = MORE_REPLIES[name]
    service.say(told)
    given = {"url": service.url, "token": TOKEN, "stages": ["shop/production"], "states": [], "only_groups": []}
    given |= {"timeout": 0.1 if told.drip else 20, "known_hosts": False}
    query = options.read_query(given.get, Path())
    with pytest.raises(problems.Problem) as caught:
        answers.check_source(answers.fetch_stage(query, "shop/production"))
    assert words in caught.value.happened


def test_it_ends_a_play_that_refreshes_in_vain(controller: Controller, service: Service) -> None:
    service.say(Answer(GOOD))
    tasks = "[{command: touch gone}, {wait_for: {path: ok}}, {meta: refresh_inventory}, {debug: {msg: two}}]"
    watcher = threading.Thread(target=stop_when, args=(service, controller.folder))
    watcher.start()
    done = controller.play(f"- {{hosts: all, gather_facts: false, connection: local, tasks: {tasks}}}")
    watcher.join()
    assert done.returncode == 4, done.stdout + done.stderr
    assert "changed: [web-1]" in done.stdout
    assert "two" not in done.stdout
    assert "the connection was refused" in done.stderr


def stop_when(service: Service, folder: Path) -> None:
    """Stop the service once the play is under way."""
    while not (folder / "gone").exists():
        threading.Event().wait(0.05)
    service.stop()
    (folder / "ok").touch()


def test_it_ends_with_an_error_when_nobody_answers(controller: Controller, service: Service) -> None:
    service.stop()
    words = f"from {service.url}: the connection was refused; start the service or correct 'url'."
    assert words in controller.fail("-vvv")
    assert words in assert_clean_failure(controller.play(PLAY))


def test_it_ends_with_an_error_beside_another_good_source(controller: Controller, service: Service) -> None:
    service.stop()
    (controller.folder / "a.ini").write_text("other ansible_connection=local\n")
    assert_clean_failure(controller.play(PLAY, "-i", "a.ini"))


def test_a_program_that_uses_ansible_gets_an_error_too(controller: Controller, service: Service) -> None:
    service.stop()
    program = (
        "from ansible.plugins.loader import init_plugin_loader; init_plugin_loader()\n"
        "from ansible.inventory.manager import InventoryManager\n"
        "from ansible.parsing.dataloader import DataLoader\n"
        "from ansible.errors import AnsibleError\n"
        "try: InventoryManager(DataLoader(), sources=['registry.yml'])\n"
        "except AnsibleError as error: print('caught', error)\n"
    )
    done = controller.run("python", "-c", program)
    assert "caught Completely failed to parse" in done.stdout
    assert "the connection was refused" in done.stderr


def test_it_names_a_missing_token(controller: Controller, service: Service) -> None:
    service.say(problem(401, "Who are you?"))
    assert "the service wants a token (401); set CALLBOARD_TOKEN" in controller.fail(CALLBOARD_TOKEN="")


def test_it_does_not_follow_a_redirect(controller: Controller, service: Service) -> None:
    other = Service()
    service.say(Answer(status=302, headers={"Location": f"{other.url}/x?token={TOKEN}"}))
    message = controller.fail("-vvv")
    assert f"the service redirects to {other.url}/x (302), and a redirect would carry the token there; set" in message
    assert other.asked == []
    other.stop()


def test_it_ends_with_an_error_when_no_http_is_spoken(controller: Controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=speak_ssh, args=(listener,), daemon=True).start()
        controller.configure(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "what answers there does not speak HTTP; check" in controller.fail()


def speak_ssh(listener: socket.socket) -> None:
    """Answer like an SSH server."""
    with listener.accept()[0] as connection:
        connection.recv(1024)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_a_header_that_drips_is_waited_for_no_longer_than_the_whole_answer(controller: Controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip_header, args=(listener,), daemon=True).start()
        controller.configure(url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        began = time.monotonic()
        assert "no complete answer came in time (the timeout is 0.2 s)" in controller.fail()
        assert time.monotonic() - began < 12


def drip_header(listener: socket.socket) -> None:
    """Answer with a header that never ends, a byte at a time."""
    with listener.accept()[0] as connection, contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(600):
            connection.sendall(b"x")
            time.sleep(0.05)


def test_it_sends_its_token_whatever_netrc_says(controller: Controller, service: Service) -> None:
    (controller.home / ".netrc").write_text("machine 127.0.0.1 login ada password other\n")
    (controller.home / ".netrc").chmod(0o600)
    controller.list()
    assert {token for _, token in service.asked} == {f"Bearer {TOKEN}"}


@pytest.fixture
def secure_service(tmp_path: Path) -> Iterator[Service]:
    """A service behind a certificate that only `ca.pem` vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "callboard")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(plain)
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    service = Service()
    service.wrap_tls(context)
    service.url = service.url.replace("127.0.0.1", "localhost")
    yield service
    service.stop()


def test_it_believes_only_the_authority_it_is_told(controller: Controller, secure_service: Service) -> None:
    controller.configure(url=secure_service.url)
    message = controller.fail("-vvv")
    assert "TLS failed (self-signed certificate); set 'ca_path'" in message
    controller.configure(url=secure_service.url, ca_path="ca.pem")
    assert "web-1" in controller.list()["_meta"]["hostvars"]
    assert len(secure_service.asked) == 2


def test_it_ends_with_an_error_when_tls_meets_plain_http(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url.replace("http:", "https:"))
    assert "TLS failed (" in controller.fail()


def test_it_ends_with_an_error_on_bad_options(controller: Controller) -> None:
    controller.configure(timeout="soon")
    assert "timeout" in controller.fail()


def test_it_leaves_a_file_of_another_plugin_to_that_plugin(controller: Controller) -> None:
    (controller.folder / "callboard.yml").write_text("all: {hosts: {static-1: {}}}\n")
    env = {"ANSIBLE_INVENTORY_ENABLED": "registry,auto,yaml"}
    done = controller.run("ansible-inventory", "-i", "callboard.yml", "--graph", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "static-1" in done.stdout
