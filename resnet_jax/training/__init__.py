"""Everything that runs inside jit: state, losses, gradients, optimizers, schedules, and the step functions.

Random numbers: the image in row r of the global batch of step s has the key `fold_in(fold_in(key(seed), s), r)`. Each
random operation (flip, erasing, mixing, stochastic depth) folds a constant of its own into that key. Nothing is sampled
per batch, so an image gets the same random numbers on any device and in any micro-batch.

Micro-batches (`train.accumulate`): each consists of whole batch norm groups. All start from the same running
statistics. One `lax.scan` sums the gradients and the changes of the statistics; their averages give one update.

Several devices: where every device holds whole batch norm groups, each device computes on its own rows under
`jax.shard_map`, and gradients, statistics and totals are all-reduced once per step (`sharded_gradients.py`). Otherwise
the global batch is one array that is sharded over all devices, and XLA inserts the all-reduces.
"""
