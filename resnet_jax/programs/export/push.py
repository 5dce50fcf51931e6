"""Uploads the folder of the format 'hub' to a repository of the Hugging Face Hub."""

import logging
import re
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.text import labelled, printable
from resnet_jax.weights.hub import import_hub

logger = logging.getLogger(__name__)

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def check_push(repository: str) -> None:
    """Checks, before an export is made, that it can be uploaded.

    Raises:
      UsageError: the name is not org/name, `huggingface_hub` is not installed or offline, or the user has no token.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"config.export.push_to={repository!r} is not org/name: name a repository of the Hub")
    hub = import_hub()
    if hub.constants.is_offline_mode():
        raise UsageError("config.export.push_to needs the network: leave HF_HUB_OFFLINE unset")
    if hub.get_token() is None:
        raise UsageError(
            f"config.export.push_to={repository} needs a token of the Hugging Face Hub: run hf auth login, or set "
            "HF_TOKEN"
        )


def push(folder: Path, repository: str) -> None:
    """Uploads the files of a folder in one commit; creates the repository, as a public one, if it does not exist.

    Raises:
      UsageError: the upload failed; the message has the command that repeats it.
    """
    api = import_hub().HfApi(library_name="resnet_jax")
    try:
        api.create_repo(repository, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export of resnet_jax")
    except Exception as error:  # the HTTP and storage libraries that `huggingface_hub` uses raise errors of many types
        reason = printable((str(error).strip() or type(error).__name__).split("\n", 1)[0][:300])
        raise UsageError(
            f"{folder} is written, but was not uploaded to {repository} ({reason}): upload it by "
            f"hf upload {repository} {folder}"
        ) from error
    logger.info(labelled("uploaded", "%s, commit %s"), repository, commit.oid)
