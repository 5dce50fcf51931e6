"""A batch: from stored bytes to the input of the network.

The host reads, decodes, crops and resizes, in uint8; the devices normalise, flip, erase and mix, inside the step. Batch
`step` is a pure function of the config, the seed and the step (`order.py`, `loader.py`); `feed.py` makes batches ahead
of time, in Grain's threads or processes, and copies two of them to the devices in advance.

With several processes, process p of P decodes the p-th of P equal slices of the rows of each global batch.

In training, an example that cannot be read is replaced by another one, chosen by a hash of the seed and its position,
so that replay and resume choose the same. In evaluation it becomes a black image with the label `UNREADABLE`, which
counts as wrong. `bad_examples.py` lists each once, and ends the run if there are more than `data.max_bad_examples`.

The names of the classes, in order, belong to a run: data with other names, versions or lengths are refused.
"""
