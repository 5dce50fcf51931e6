import contextlib
import platform
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from resnet_jax.distributed.handshake import hello_message, new_challenge
from resnet_jax.distributed.lines import decode, encode, read_line
from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all
from resnet_jax.errors import ProcessLostError, UsageError
from tests.distributed.local_channels import free_port, process_specs, result_or_error, together


def close(connected):
    for one in connected:
        for connection in one.sockets.values():
            connection.close()


def test_all_processes_find_each_other_and_the_port_is_free_again():
    specs = process_specs(4)
    connected = together(lambda spec: connect_all(spec, timeout=20), specs)
    assert {one.hosts for one in connected} == {(platform.node(),) * 4}
    assert [sorted(one.sockets) for one in connected] == [[1, 2, 3], [0], [0], [0]]
    port = int(specs[0].coordinator.split(":")[1])
    with socket.create_server(("", port)):  # as JAX's coordinator does next, while the connections stay open
        connected[0].sockets[2].sendall(encode({"a": 1}))
        assert connected[2].sockets[0].recv(100) == b'{"a": 1}\n'
    close(connected)


def test_missing_processes_are_named_to_those_that_have_connected():
    specs = process_specs(4)
    errors = together(result_or_error(lambda spec: connect_all(spec, timeout=1.0)), [specs[0], specs[2]])
    host = platform.node()
    message = (
        f"processes 1, 3 of 4 did not connect within 1 s (connected: 0 ({host}), 2 ({host})): start all of them, or "
        "wait longer with --join_timeout=SECONDS"
    )
    assert [type(error) for error in errors] == [ProcessLostError] * 2
    assert [str(error) for error in errors] == [message] * 2


def test_a_process_that_ended_while_it_waited_may_come_again():
    specs = process_specs(3)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=20)
        with _reach(int(specs[0].coordinator.split(":")[1])) as ended:
            ended.sendall(encode(hello(ended, 1, 3)))
            read_line(ended, deadline=time.monotonic() + 20, longest=4096)  # it is accepted
        others = together(lambda spec: connect_all(spec, timeout=20), specs[1:])
    assert first.result().hosts == (platform.node(),) * 3
    close([first.result(), *others])


def test_without_process_0_there_is_a_time_limit():
    with pytest.raises(UsageError, match=r"process 0 of 2 cannot be reached at 127.0.0.1:\d+ \(Connection refused\)"):
        connect_all(process_specs(2)[1], timeout=0.3)
    with pytest.raises(UsageError, match=r"cannot be reached at no-such-host.invalid:1 \(.*\) within 0.3 s: start it"):
        connect_all(ProcessSpec("no-such-host.invalid:1", 2, 1), timeout=0.3)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([(3, 1), (3, 1)], r"two processes have --process_id=1 \(.+, .+\): give them the right --num_processes and"),
        ([(2, 1)], r"process 1 \(.+\) was started with --num_processes=2, process 0 with 3: give them"),
    ],
)
def test_every_process_reports_a_contradiction(others, message):
    coordinator = f"127.0.0.1:{free_port()}"
    specs = [ProcessSpec(coordinator, 3, 0), *(ProcessSpec(coordinator, count, number) for count, number in others)]
    for error in together(result_or_error(lambda spec: connect_all(spec, timeout=10)), specs):
        assert isinstance(error, UsageError)
        assert re.match(message, str(error))


def test_a_port_in_use_is_an_error():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=rf"process 0 cannot listen on port {port} \(.*in use.*\): if another"):
            connect_all(ProcessSpec(f"localhost:{port}", 2, 0), timeout=1)


def hello(connection, number, count, **changes):
    """Reads the challenge of process 0; returns the message of process `number`, with changed fields."""
    challenge = read_line(connection, deadline=time.monotonic() + 20, longest=4096)["challenge"]
    message = hello_message(number, count, challenge=challenge, own_challenge=new_challenge(), secret=b"")
    return message | changes


PROOF = "0" * 64
STRANGERS = [
    b"",
    b"GET / HTTP/1.1\r\n",
    b"\n",
    b"[1]\n",
    b'{"process_id": "x"}\n',
    b'{"process_id": Infinity, "num_processes": 2, "host": "x"}\n',
    encode({"process_id": 99, "num_processes": 2, "host": "x"}),
    encode({"process_id": -1, "num_processes": 2, "host": "x"}),
    b"[" * 4000 + b"\n",  # nested more deeply than the parser goes
    b"\xff" * 4000,
    encode({"process_id": 1, "num_processes": 2, "host": "x"}),
    encode({"process_id": 1, "num_processes": 2, "host": "x", "challenge": PROOF, "proof": PROOF}),
    encode({"process_id": 1, "num_processes": 5, "host": "x", "challenge": PROOF, "proof": PROOF}),
    encode({"process_id": 1, "num_processes": 2, "host": "x", "challenge": PROOF, "proof": 7}),
    encode({"process_id": True, "num_processes": 2, "host": "x", "challenge": PROOF, "proof": "\ud800"}),
    encode({"process_id": 1, "num_processes": 2, "host": "x"}) + b"more",
]
# Changes of the message of process 1 of 2, which its proof does not cover.
LIES = [
    {"process_id": 0},
    {"process_id": 1.0},
    {"num_processes": 3},
    {"host": "another"},
    {"host": "x" * 300},
    {"host": ["x"]},
    {"challenge": PROOF},
    {"challenge": "short"},
    {"proof": None},
]


def test_connections_of_other_programs_are_closed(caplog):
    specs = process_specs(2)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool, caplog.at_level("WARNING", logger="resnet_jax"):
        first = pool.submit(connect_all, specs[0], timeout=20)
        for content in STRANGERS:
            with _reach(port) as stranger:
                stranger.sendall(content)
        for changes in LIES:
            with _reach(port) as stranger:
                stranger.sendall(encode(hello(stranger, 1, 2, **changes)))
        second = connect_all(specs[1], timeout=20)
    assert second.hosts == first.result().hosts
    (line,) = caplog.messages  # the first only
    assert line.startswith("a connection from 127.0.0.1 is ignored (")
    close([second, first.result()])


def test_a_recorded_message_is_no_proof():
    specs = process_specs(2)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=20)
        with _reach(port) as one, _reach(port) as other:
            recorded = encode(hello(one, 1, 2))
            other.sendall(recorded)
            answer = other.makefile("rb").read()
            assert b"refused" in answer.splitlines()[1]
        second = connect_all(specs[1], timeout=20)
    close([second, first.result()])


def test_processes_with_another_secret_are_refused_and_say_so(caplog):
    specs = process_specs(2)
    with ThreadPoolExecutor() as pool, caplog.at_level("WARNING", logger="resnet_jax"):
        right = pool.submit(connect_all, specs[0], timeout=20, secret=b"right")
        with pytest.raises(ProcessLostError, match=r"process 0 of 2 cannot .* \(RESNET_JAX_SECRET differs from "):
            connect_all(specs[1], timeout=1.0, secret=b"wrong")
        close([connect_all(specs[1], timeout=20, secret=b"right"), right.result()])
    assert len(caplog.messages) == 2  # one of each process, although process 1 tried several times
    assert any("the client does not have the secret of this run, RESNET_JAX_SECRET" in line for line in caplog.messages)


def test_process_0_listens_only_at_its_address():
    specs = process_specs(2)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=20)
        _reach(port).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)
        second = connect_all(specs[1], timeout=20)
    assert first.result().address == f"127.0.0.1:{port}"
    close([first.result(), second])


def test_more_connections_than_wait_at_a_time_keep_no_process_out(monkeypatch):
    monkeypatch.setattr("resnet_jax.distributed.newcomers._MOST_WAITING", 4)
    specs = process_specs(2)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        first = pool.submit(connect_all, specs[0], timeout=20)
        oldest, *_ = [stack.enter_context(_reach(port)) for _ in range(20)]
        assert decode(oldest.makefile("rb").read())["challenge"]  # and then the end: a later one took its place
        second = connect_all(specs[1], timeout=20)
    close([first.result(), second])


def drip(connection, stop):
    """Sends one byte every 10 ms."""
    while not stop.wait(0.01):
        connection.sendall(b"x")


def idle(connection, stop):
    """Sends nothing."""
    stop.wait()


def flood(connection, stop):
    """Sends one line without an end, as fast as it can."""
    while not stop.is_set():
        connection.sendall(b"x" * 100_000)


@contextlib.contextmanager
def in_background(client, port):
    """Runs five clients in threads, connected to a port, until the block ends."""
    stop = threading.Event()

    def run(connection):
        with connection, contextlib.suppress(OSError):
            client(connection, stop)

    threads = [threading.Thread(target=run, args=(_reach(port),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("client", [drip, idle, flood])
def test_a_client_that_sends_no_line_delays_no_process(client, monkeypatch):
    # The clients would be dropped after an hour, so the processes can only connect in time if none waits for them.
    monkeypatch.setattr("resnet_jax.distributed.newcomers._HELLO_SECONDS", 3600.0)
    specs = process_specs(3)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=20)
        with in_background(client, port):
            others = together(lambda spec: connect_all(spec, timeout=20), specs[1:])
            assert first.result().hosts == (platform.node(),) * 3
    close([first.result(), *others])


@pytest.mark.parametrize("client", [drip, idle, flood])
def test_a_client_that_sends_no_line_does_not_move_the_deadline(client):
    specs = process_specs(2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=1.5)
        with (
            in_background(client, int(specs[0].coordinator.split(":")[1])),
            pytest.raises(ProcessLostError, match="process 1 of 2 did not connect within 1.5 s"),
        ):
            first.result(timeout=20)


@pytest.mark.parametrize("sent", [b"", b"x"], ids=["nothing", "a part of the line"])
def test_a_client_that_sends_no_line_in_time_is_dropped(sent, monkeypatch):
    monkeypatch.setattr("resnet_jax.distributed.newcomers._HELLO_SECONDS", 0.2)
    specs = process_specs(2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, specs[0], timeout=20)
        with _reach(int(specs[0].coordinator.split(":")[1])) as client:
            client.sendall(sent)
            assert decode(client.makefile("rb").read())[
                "challenge"
            ]  # and then the end: process 0 closed the connection
        second = connect_all(specs[1], timeout=20)
    close([first.result(), second])


def test_a_coordinator_that_drips_does_not_move_the_deadline():
    """The other direction: something else listens at the address of process 0."""
    stop = threading.Event()

    def answer(server):
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            while not stop.wait(0.01):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        pool.submit(answer, server)
        try:
            with pytest.raises(
                ProcessLostError, match=r"process 0 of 2 cannot be reached .* \(another program answers"
            ):
                connect_all(ProcessSpec(f"127.0.0.1:{server.getsockname()[1]}", 2, 1), timeout=0.3)
        finally:
            stop.set()


def _reach(port):
    """Connects to process 0 as soon as it listens."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=5)
    raise AssertionError("process 0 does not listen")


def test_a_process_whose_connection_was_closed_without_an_answer_tries_again():
    """Process 0 closes connections when too many programs connect."""
    specs = process_specs(2)
    port = int(specs[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool:
        with socket.create_server(("127.0.0.1", port)) as server:
            second = pool.submit(connect_all, specs[1], timeout=20)
            connection, _ = server.accept()
            with connection:
                connection.sendall(encode({"challenge": PROOF}))
                assert read_line(connection, deadline=time.monotonic() + 20, longest=4096)["process_id"] == 1
        first = connect_all(specs[0], timeout=20)
        close([first, second.result()])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_address_may_be_one_of_ip_version_6():
    specs = [spec._replace(coordinator=spec.coordinator.replace("127.0.0.1", "[::1]")) for spec in process_specs(2)]
    first, second = connected = together(lambda spec: connect_all(spec, timeout=20), specs)
    assert first.address == specs[0].coordinator and first.hosts == second.hosts
    close(connected)
