"""Opens data files, which must be regular files: a FIFO would block until it has a writer; a device may never end."""

import errno
import os
import stat

from resnet_jax.local_paths import kind_of

# Most bytes of an image file or record: the size of an uncompressed image of `image_limits.MAX_PIXELS` pixels with 6
# bytes per pixel, rounded.
MAX_BYTES = 2**30

# Values of errno for a path that is not a regular file. Such a path is not opened again.
NO_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENODEV, errno.ENOTDIR, errno.ENXIO)


def open_regular(path: str | bytes | os.PathLike) -> int:
    """Opens a regular file for reading and returns its descriptor.

    Raises:
      OSError: the file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: does not wait at a FIFO
    except OSError as error:
        if error.errno == errno.ENXIO:  # 'No such device or address', although the path exists
            raise OSError(errno.ENXIO, f"it is {kind_of(path)}, not a file", path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, f"it is {kind_of(path)}, not a file", path)


def read_regular(path: str | bytes | os.PathLike) -> bytes:
    """Returns the content of a regular file.

    Raises:
      OSError: the file cannot be read now.
      ValueError: it is not a regular file, or has more than `MAX_BYTES` bytes.
    """
    try:
        descriptor = open_regular(path)
    except OSError as error:
        if error.errno in NO_FILE:
            raise ValueError(str(error.strerror)) from None
        raise
    try:
        size = os.fstat(descriptor).st_size
        if size > MAX_BYTES:
            raise ValueError(f"the file has {size:,} bytes, more than an image of the allowed size: check what it is")
        content = os.read(descriptor, size)
        while len(content) < size and (rest := os.read(descriptor, size - len(content))):  # a read may return less
            content += rest
        return content
    finally:
        os.close(descriptor)
