import contextlib
import platform
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all, encode
from resnet_jax.errors import ProcessLostError, UsageError
from tests.distributed.local_channels import free_port, process_specs, result_or_error, together


def close(meetings):
    for meeting in meetings:
        for connection in meeting.connections.values():
            connection.close()


def test_all_processes_find_each_other_and_the_port_is_free_again():
    here = process_specs(4)
    meetings = together(lambda spec: connect_all(spec, timeout=20), here)
    assert {meeting.hosts for meeting in meetings} == {(platform.node(),) * 4}
    assert [sorted(meeting.connections) for meeting in meetings] == [[1, 2, 3], [0], [0], [0]]
    port = int(here[0].coordinator.split(":")[1])
    with socket.create_server(("", port)):  # as JAX's own service does next, while the connections stay
        meetings[0].connections[2].sendall(encode({"a": 1}))
        assert meetings[2].connections[0].recv(100) == b'{"a": 1}\n'
    close(meetings)


def test_those_that_do_not_come_are_named_to_those_that_have():
    here = process_specs(4)
    errors = together(result_or_error(lambda spec: connect_all(spec, timeout=1.0)), [here[0], here[2]])
    host = platform.node()
    message = (
        f"processes 1, 3 of 4 did not come within 1 s (there: 0 ({host}), 2 ({host})): start all of them, or wait "
        "longer with --join_timeout=SECONDS"
    )
    assert [type(error) for error in errors] == [ProcessLostError] * 2
    assert [str(error) for error in errors] == [message] * 2


def test_a_process_that_ended_while_it_waited_may_come_again():
    here = process_specs(3)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, here[0], timeout=20)
        with _reach(int(here[0].coordinator.split(":")[1])) as ended:
            ended.sendall(encode({"process_id": 1, "num_processes": 3, "host": "gone"}))
        others = together(lambda spec: connect_all(spec, timeout=20), here[1:])
    assert first.result().hosts == (platform.node(),) * 3
    close([first.result(), *others])


def test_without_process_0_there_is_a_time_limit():
    with pytest.raises(UsageError, match=r"process 0 of 2 is not to be found at 127.0.0.1:\d+ \(Connection refused\)"):
        connect_all(process_specs(2)[1], timeout=0.3)
    with pytest.raises(UsageError, match=r"not to be found at no-such-host.invalid:1 \(.*\) after 0.3 s: start it"):
        connect_all(ProcessSpec("no-such-host.invalid:1", 2, 1), timeout=0.3)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([(3, 1), (3, 1)], r"two processes have the number 1 \(.+, .+\): give them the right --num_processes and"),
        ([(2, 1)], r"process 1 \(.+\) was told of 2 processes, process 0 of 3: give them the right"),
    ],
)
def test_contradictions_are_said_to_all(others, message):
    coordinator = f"127.0.0.1:{free_port()}"
    here = [ProcessSpec(coordinator, 3, 0), *(ProcessSpec(coordinator, count, number) for count, number in others)]
    for error in together(result_or_error(lambda spec: connect_all(spec, timeout=10)), here):
        assert isinstance(error, UsageError)
        assert re.match(message, str(error))


def test_a_taken_port_is_said():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=rf"process 0 cannot listen on port {port} \(.*in use.*\): is another"):
            connect_all(ProcessSpec(f"localhost:{port}", 2, 0), timeout=1)


def test_strangers_are_let_go():
    here = process_specs(2)
    port = int(here[0].coordinator.split(":")[1])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(connect_all, here[0], timeout=20)
        for content in (b"GET / HTTP/1.1\r\n", b"\n", b"[1]\n", b'{"process_id": "x"}\n', b""):
            with _reach(port) as stranger:
                stranger.sendall(content)
        second = connect_all(here[1], timeout=20)
    assert second.hosts == first.result().hosts
    close([second, first.result()])


def _reach(port):
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=5)
