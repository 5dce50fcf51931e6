"""The input pipeline: makes batches, from stored image files to the input of the network.

The host reads, decodes, crops and resizes images in uint8; the devices normalize, flip, erase and mix them inside the
compiled step. A batch is a pure function of the config, the seed and the step (`order.py`, `loader.py`). `feed.py`
makes batches ahead of time in Grain's threads or processes, and copies two of them to the devices in advance.

With several processes, process p of P decodes the p-th of P equal slices of the rows of each global batch.

In training, an example that cannot be read is replaced by another one. A hash of the seed and of the row's index among
all rows of the run chooses it, so that a resumed run chooses the same one. In evaluation, an unreadable example becomes
a black image with the label `UNREADABLE`, and any prediction for it counts as wrong. `bad_examples.py` lists each
unreadable example once, and ends the run if there are more than `data.max_bad_examples`.

A run stores the ordered class names, the name and the length of its data set. It refuses to resume with a data set that
differs in one of them.
"""
