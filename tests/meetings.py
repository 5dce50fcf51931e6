"""Several `Channel`s of one run in the threads of one process."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

from resnet_jax.channel import Channel
from resnet_jax.rendezvous import Place, meet


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def places(count):
    coordinator = f"127.0.0.1:{free_port()}"
    return [Place(coordinator, count, number) for number in range(count)]


def together(function, items):
    """Calls the function with each item, all at once; the results, in order."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))


def result_or_error(function):
    """A function that returns what `function` raises."""

    def call(item):
        try:
            return function(item)
        except Exception as error:
            return error

    return call


@contextlib.contextmanager
def channels(count):
    """Connected channels."""
    made = together(lambda place: Channel(meet(place, timeout=20), process_id=place.process_id), places(count))
    try:
        yield made
    finally:
        for channel in made:
            channel._done.update(range(count))  # from here on it is no matter that one is gone
        for channel in made:
            disconnect(channel)


def disconnect(channel):
    """What the end of a process does to its connections."""
    for connection in channel._connections.values():
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
