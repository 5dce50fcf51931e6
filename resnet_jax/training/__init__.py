"""Everything that runs inside jit: state, losses, gradients, optimizers, schedules, and the step functions.

Random numbers: row r of step s has the key `fold_in(fold_in(key(seed), s), r)`, and each use of it (flip, erasing,
mixing, stochastic depth) folds in a constant of its own. Nothing is sampled per batch, so a row gets the same values on
any device and in any micro-batch.

Micro-batches (`train.accumulate`): each takes whole batch norm groups. All start from the same running statistics;
gradients and new statistics are averaged in one `lax.scan`, followed by one update.

Several devices: where every device holds whole batch norm groups, each computes its own rows under `jax.shard_map`, and
gradients, statistics and totals are all-reduced once per step (`sharded_gradients.py`). Elsewhere the batch is one
array over all devices, and XLA inserts the all-reduces.
"""
