"""Several `Channel`s of one run in the threads of one process."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def process_specs(count):
    coordinator = f"127.0.0.1:{free_port()}"
    return [ProcessSpec(coordinator, count, number) for number in range(count)]


def together(function, items):
    """Calls the function with each item, in parallel threads; returns the results in order."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))


def result_or_error(function):
    """Wraps a function so that it returns the exception that it raises."""

    def call(item):
        try:
            return function(item)
        except Exception as error:
            return error

    return call


class Ends:
    """Stubs for the end of processes: record the exit status and last line of each, the first one if several."""

    def __init__(self):
        self._seen, self._changed = {}, threading.Condition()

    def of(self, process):
        """The `end_process` of a process."""

        def end(status, text):
            with self._changed:
                self._seen.setdefault(process, (status, text))
                self._changed.notify_all()

        return end

    def wait_for(self, processes):
        """Waits until these processes have ended; returns (status, line) of all that have, by process id."""
        with self._changed:
            assert self._changed.wait_for(lambda: processes <= set(self._seen), 20), self._seen
            return dict(self._seen)


@contextlib.contextmanager
def channels(count, ends=None, *, stall_timeout=60.0):
    """The connected channels of `count` processes."""
    ends = ends or Ends()

    def connect(spec):
        connections, number = connect_all(spec, timeout=20), spec.process_id
        return Channel(connections, process_id=number, stall_timeout=stall_timeout, end_process=ends.of(number))

    made = together(connect, process_specs(count))
    try:
        yield made
    finally:
        for channel in made:
            channel._done.update(range(count))  # so that closing one does not end the others
        for channel in made:
            disconnect(channel)


def disconnect(channel):
    """Closes the connections of a channel, as the end of a process does."""
    for _, link in channel._links.items():
        connection = link.connection
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
