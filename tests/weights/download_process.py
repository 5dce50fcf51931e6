"""Downloads weights with the real client; a program of its own, because the client reads its environment only once.

python -m tests.weights.download_process ADDRESS...: prints the path or the error of each address, as JSON.
"""

import json
import sys

from resnet_jax.errors import UsageError
from resnet_jax.weights import hub


def attempt(address):
    try:
        return {"path": str(hub.download(address))}
    except UsageError as error:
        return {"error": str(error)}


print(json.dumps([attempt(address) for address in sys.argv[1:]]))
