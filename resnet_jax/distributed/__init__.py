"""The device mesh, and the processes of one run: how they connect, exchange messages and stop together.

Reading order: `cluster.py` (which process is this?), `rendezvous.py` (wait for the others, before JAX does),
`channel.py` (messages between all processes), `agreement.py` (one result or error for all), `signals.py` and
`stop_requests.py` (stop or save at the same step). `mesh.py` has the one mesh axis, `data`: the state is replicated,
the batch is split.

A process that ends without finishing ends all others within a fraction of a second, with exit status 75: the next
collective operation would wait for it for ever.
"""
