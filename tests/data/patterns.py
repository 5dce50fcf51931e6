"""Two images made by integer arithmetic: the inputs of the golden results of augmentation operations."""

import numpy as np


def patterns() -> dict[str, np.ndarray]:
    """Returns [H, W, 3] uint8 images by name: a dim one with ramps and an edge, and one like noise with all values."""
    rows, columns, channels = np.mgrid[:48, :48, :3]
    dim = 40 + rows * (channels + 1) + columns * (3 - channels) // 2 + 30 * (rows + 2 * columns > 80)
    rows, columns, channels = np.mgrid[:36, :52, :3]
    rough = (rows * 7919 + columns * 104_729 + channels * 31 + rows * columns * 613) % 65_537
    return {"dim": dim.astype(np.uint8), "rough": (rough % 256).astype(np.uint8)}
