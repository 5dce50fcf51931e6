"""The device mesh, and the processes of one run: how they connect, exchange messages and stop together.

Reading order: `cluster.py` (which process is this?), `rendezvous.py` (connect all processes, before JAX does;
with `secret.py`, `listening.py`, `newcomers.py` and `handshake.py`), `channel.py` (messages between all processes; with
`lines.py`, `messages.py` and `link.py`), `agreement.py` (one result or error for all), `signals.py` and
`stop_requests.py` (stop or save at the same step). `mesh.py` has the one mesh axis, `data`: the state is replicated,
the batch is split.

If a process dies before the end of the run, all other processes exit with status 75 within a fraction of a second. If a
process is stopped (SIGSTOP, or its machine hangs), they exit within --stall_timeout seconds. If they continued, their
next collective operation would wait forever for that process.
"""
