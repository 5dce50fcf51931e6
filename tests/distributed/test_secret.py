import pytest

from resnet_jax.distributed.listening import listen
from resnet_jax.distributed.secret import find_secret, is_loopback
from resnet_jax.errors import UsageError
from tests.kinds_of_files import NO_FILES

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_secret(monkeypatch):
    monkeypatch.delenv("RESNET_JAX_SECRET", raising=False)
    monkeypatch.delenv("RESNET_JAX_SECRET_FILE", raising=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"])
def test_a_loopback_address_needs_no_secret(host):
    assert find_secret(f"{host}:1234", trust_network=False) == b""


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "0.0.0.0", "[::]", "gpu003", "localhost.example.org", "127.0.0.1.nip.io", ""]
)
def test_another_address_needs_a_secret_unless_the_network_is_trusted(host, monkeypatch):
    with pytest.raises(UsageError, match=r"^the processes have no secret, .* set RESNET_JAX_SECRET .* --trust_network"):
        find_secret(f"{host}:1234", trust_network=False)
    assert find_secret(f"{host}:1234", trust_network=True) == b""
    monkeypatch.setenv("RESNET_JAX_SECRET", f" {SECRET}\n")
    assert find_secret(f"{host}:1234", trust_network=False) == SECRET.encode()


def test_the_secret_may_be_in_a_file(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    monkeypatch.setenv("RESNET_JAX_SECRET_FILE", str(file))
    with pytest.raises(UsageError, match="cannot be read .No such file or directory.: make one with `openssl rand"):
        find_secret("10.0.0.1:1", trust_network=False)
    file.write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        find_secret("10.0.0.1:1", trust_network=False)
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(UsageError, match="it is not text"):
        find_secret("10.0.0.1:1", trust_network=False)
    file.write_text(SECRET + "\n")
    assert find_secret("10.0.0.1:1", trust_network=False) == SECRET.encode()


def test_a_short_secret_is_an_error(monkeypatch):
    monkeypatch.setenv("RESNET_JAX_SECRET", "1234")
    with pytest.raises(UsageError, match="shorter than 16 characters"):
        find_secret("localhost:1", trust_network=True)


def test_names_that_only_look_like_loopback_are_not():
    assert not is_loopback("localhost.localdomain.example") and not is_loopback("127.0.0.1:80")


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.3", "127.0.0.3")])
def test_process_0_listens_at_the_address_it_is_given(host, address):
    server, where = listen(f"{host}:0")
    with server:
        assert server.getsockname()[0] == address and where == f"{address}:0"


@pytest.mark.parametrize("resolved", [["127.0.1.1"], [], ["198.51.100.7"]], ids=["Debian", "unknown name", "NAT"])
def test_process_0_listens_everywhere_if_its_address_is_not_one_of_its_machine(resolved, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 0)) for address in resolved])
    server, where = listen("this-machine:0")
    with server:
        assert where is None


@pytest.mark.parametrize("value", ["  \t ", "\udcff" * 20])
def test_a_variable_that_is_no_text(value, monkeypatch):
    monkeypatch.setenv("RESNET_JAX_SECRET", value)
    with pytest.raises(UsageError, match="RESNET_JAX_SECRET is not a text: make one with"):
        find_secret("localhost:1", trust_network=False)


@pytest.mark.parametrize(("kind", "make"), NO_FILES)
def test_a_secret_file_that_is_no_file(kind, make, tmp_path, monkeypatch):
    make(tmp_path / "x")
    monkeypatch.setenv("RESNET_JAX_SECRET_FILE", str(tmp_path / "x"))
    with pytest.raises(UsageError, match=rf"RESNET_JAX_SECRET_FILE=.*/x is {kind}: name a file with the secret"):
        find_secret("localhost:1", trust_network=False)


def test_a_secret_file_that_is_too_long(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"a" * 5000)
    monkeypatch.setenv("RESNET_JAX_SECRET_FILE", str(tmp_path / "secret"))
    with pytest.raises(UsageError, match="it has more than 4096 bytes"):
        find_secret("localhost:1", trust_network=False)
