"""Giving a packed model to the Hugging Face hub."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from espnet_part.archive import unpack
from espnet_part.errors import ConfigError, DataError


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        ConfigError: says what it must be.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise ConfigError(f"hf_repo: {' '.join(str(error).split())}") from None
    if "/" not in repo:
        raise ConfigError(f"hf_repo: {repo!r} must be owner/name")


def upload(archive: Path, repo: str, private: bool = False) -> str | None:
    """Upload what is in an archive to a repository of the hub, which is made when there is none.

    The files lie there as they are in the archive, which is how ESPnet's model zoo and
    `Speech2Text.from_pretrained` expect them.

    Args:
        archive: of `part_pack`. repo: ``owner/name``. private: of a new repository.

    Returns:
        The address of the upload; None where there is no token, which is said in the log.

    Raises:
        ConfigError: no name of a repository. DataError: the hub refused it.
    """
    import huggingface_hub
    from huggingface_hub import HfApi, errors

    check_repo(repo)
    token = huggingface_hub.get_token()
    if token is None:
        logging.warning(
            "not uploaded to %s: there is no token; log in with `hf auth login`, or set HF_TOKEN",
            repo,
        )
        return None
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory(prefix=".upload.", dir=archive.parent) as room:
        folder = Path(room) / "model"
        unpack(archive, folder)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=f"Upload {archive.stem}"
            )
        except (errors.HfHubHTTPError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{repo}: the hub refused the upload: {reason}") from None
    return str(getattr(commit, "commit_url", commit))
