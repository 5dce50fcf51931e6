import io
import logging
import subprocess
import sys
import threading
import warnings
import zlib

import pytest
from PIL import Image, TiffImagePlugin

from resnet_jax.data import decoder_messages
from resnet_jax.data.decode import decode
from resnet_jax.data.decoder_messages import count_messages, counting
from tests.data.encoded import encode, photo
from tests.paths import ROOT


def with_chunk(png, name, content):
    """Returns a PNG file with another chunk after the header."""
    chunk = len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]


def damaged_tiff():
    file = io.BytesIO()
    Image.fromarray(photo(30, 40)).save(file, "TIFF", compression="tiff_adobe_deflate")
    data = bytearray(file.getvalue())
    data[200] ^= 0xFF
    return bytes(data)


def test_damaged_files_print_nothing_and_are_counted(capfd):
    before = count_messages()
    with pytest.raises(ValueError, match="."):
        decode(damaged_tiff())
    assert count_messages() > before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"iCCP", b"ICC\0\0" + zlib.compress(b"\0\0\x0c\x48Lino" + bytes(100))),
        (b"sRGB", b"\x09"),
        (b"gAMA", bytes(4)),
        (b"tRNS", b"\1"),
        (b"bKGD", b"\1"),
        (b"cHRM", bytes(32)),
        (b"pHYs", b"\1"),
        (b"zTXt", b"no text"),
        (b"eXIf", b"no EXIF"),
        (b"IDAT", b"no pixels"),
        (b"IEND", b""),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_chunks_that_libpng_complains_of_print_nothing(mode, name, content, capfd):
    encoded = encode(photo(20, 30), "PNG", mode)
    try:
        image = decode(with_chunk(encoded, name, content))
    except ValueError:
        assert name in (b"IDAT", b"IEND", b"tRNS")
    else:
        assert (image == decode(encoded)).all()
    assert capfd.readouterr() == ("", "")


def complain():
    """Makes Pillow warn twice and log once, and another module warn once."""
    for _ in range(2):
        warnings.warn_explicit("odd", UserWarning, TiffImagePlugin.__file__, 1, module="PIL.TiffImagePlugin")
    logging.getLogger("PIL.TiffImagePlugin").warning("odd")
    warnings.warn("mine", UserWarning, stacklevel=1)


@pytest.fixture
def shown(monkeypatch):
    """The texts of the warnings that are shown."""
    texts = []
    monkeypatch.setattr(decoder_messages, "_show_warning", lambda message, *_: texts.append(str(message)))
    with warnings.catch_warnings():
        warnings.resetwarnings()
        decoder_messages.install()
        yield texts


def test_warnings_and_logs_of_pillow_are_counted_and_others_are_shown(shown, caplog):
    before = count_messages()
    with counting():
        complain()
    assert count_messages() == before + 3
    assert shown == ["mine"] and not caplog.records


def test_outside_of_decoding_the_messages_of_pillow_are_shown(shown, caplog, capfd):
    before = count_messages()
    complain()
    with pytest.raises(OSError, match="."):
        Image.open(io.BytesIO(damaged_tiff())).load()
    assert count_messages() == before
    assert shown == ["odd", "odd", "mine"] and len(caplog.records) == 1
    assert "ZIPDecode" in capfd.readouterr().err  # libtiff's own handler, with its arguments


def test_each_thread_counts_its_own(shown):
    counted = []

    def count():
        with counting():
            complain()
        counted.append(count_messages())

    thread = threading.Thread(target=count)
    before = count_messages()
    thread.start()
    thread.join()
    assert counted == [3] and count_messages() == before and shown == ["mine"]


def test_the_limit_of_pillow_stays_for_other_code():
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_program_that_decodes_prints_nothing():
    program = """
import sys, warnings
from resnet_jax.data.decode import decode
from tests.data.test_decoder_messages import damaged_tiff
try:
    decode(damaged_tiff())
except ValueError:
    print("unreadable")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("unreadable\n", "")
