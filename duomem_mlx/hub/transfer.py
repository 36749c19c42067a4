"""To the Hub and back, through huggingface_hub: one commit up, only known names down.

Endpoint and token are huggingface_hub's own: HF_ENDPOINT; HF_TOKEN or what `hf auth login` keeps.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx import __version__
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.hub.bundle import HEAD, LIMITS, Head, broken, read_head
from duomem_mlx.paths import HUB_ID

_LOGIN = "Run `hf auth login`, or set HF_TOKEN to a token that may write there."
_UNTOLD = (".gitattributes", ".gitignore")  # the Hub's own; not worth a line


@dataclass(frozen=True)
class Published:
    """What an upload came to."""

    url: str
    commit: str
    private: bool
    changed: bool  # False: all of it was there already, and no commit was made


@dataclass(frozen=True)
class Fetched:
    """What was fetched."""

    head: Head
    commit: str
    left_out: tuple[str, ...]  # names in the repository that are no file of a bundle


def check_repo(repo: str) -> None:
    """Raise UsageError where `repo` is no OWNER/NAME that the Hub could have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        right = HUB_ID.fullmatch(repo) is not None
    except HFValidationError:
        right = False
    if not right:
        raise UsageError(f"{repo!r} is no name on the Hub.", "Write it as OWNER/NAME.")


def own_token() -> str | None:
    """The Hub's token on this machine."""
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token


def publish(folder: Path, names: Sequence[str], repo: str, public: bool) -> Published:
    """Put the files `names` of a bundle's folder into `repo`, in one commit: whole or not at all. A bundle's files that
    were there and are not among `names` go in the same commit; others stay.

    The repository is made where there is none, private unless `public`. Raises UsageError when it is there and public
    though `public` was not said, or there is no token; DuomemError when the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RepositoryNotFoundError

    if own_token() is None:
        raise UsageError("There is no token for the Hub on this machine.", _LOGIN)
    api = _api()
    with hub_faults(repo, "publish"):
        try:
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=not public, exist_ok=True)
            info = api.model_info(repo)
        if not info.private and not public:
            raise UsageError(f"{repo} is there and everybody can read it.", "Add --public, or choose another --to.")
        there = {sibling.rfilename for sibling in info.siblings or ()}
        additions = [CommitOperationAdd(name, folder / name) for name in names]
        for addition in additions:  # large ones go ahead, one by one: Ctrl-C would wait for threads
            api.preupload_lfs_files(repo, [addition], free_memory=False)
        gone = [CommitOperationDelete(name) for name in sorted(there & set(LIMITS) - set(names))]
        message = f"Bundle of duomem-mlx {__version__}"
        commit = api.create_commit(repo, [*additions, *gone], commit_message=message, parent_commit=info.sha)
    return Published(f"{api.endpoint}/{repo}", commit.oid, bool(info.private), commit.oid != info.sha)


def fetch(repo: str, revision: str | None, folder: Path) -> Fetched:
    """Fetch a bundle's files into `folder`, all of one commit; nothing in them is checked but names and sizes.

    Raises UsageError when there is no such bundle or revision, DuomemError when names or sizes are not a bundle's, or
    the Hub cannot be reached.
    """
    api = _api()
    with hub_faults(repo, "pull"):
        info = api.model_info(repo, revision=revision, files_metadata=True)
        listed = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
        if HEAD not in listed:
            raise UsageError(f"{repo} holds no bundle: there is no {HEAD}.", "Name one that `publish` made.")
        _download(api, repo, info.sha, HEAD, listed[HEAD], folder)
        head = read_head(folder / HEAD)
        for name, file in head.files.items():
            if name not in listed:
                raise broken(name, "is missing")
            _check_size(name, listed[name])
            if listed[name] != file.bytes and name in head.sealed:
                raise broken(name, f"has {listed[name]:,} bytes where bundle.json says {file.bytes:,}")
        for name in head.files:
            _download(api, repo, info.sha, name, listed[name], folder)
    left_out = sorted(name for name in listed if name not in head.files and name not in (HEAD, *_UNTOLD))
    return Fetched(head, str(info.sha), tuple(left_out))


def _check_size(name: str, size: int | None) -> None:
    if size is None or size > LIMITS[name]:
        told = "an unknown number of" if size is None else f"{size:,}"
        raise broken(name, f"has {told} bytes, where up to {LIMITS[name]:,} are taken")


def _download(api: Any, repo: str, commit: str, name: str, size: int | None, folder: Path) -> None:
    _check_size(name, size)
    api.hf_hub_download(repo, name, revision=commit, local_dir=folder)


def _api() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(library_name="duomem-mlx", library_version=__version__)


@contextmanager
def hub_faults(repo: str, doing: str) -> Iterator[None]:
    """Turn what the Hub and the way to it can do wrong into one sentence."""
    from huggingface_hub.errors import EntryNotFoundError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except DuomemError:
        raise
    except (HTTPError, OfflineModeIsEnabled, EntryNotFoundError, RuntimeError, ValueError) as error:
        raise _told(error, repo, doing) from None
    except OSError as error:  # what is left is the disk's, but for this one
        if "Consistency check failed" in str(error):
            raise DuomemError(
                f"{repo} came down longer or shorter than the Hub said.", "Run the same command again."
            ) from None
        raise


def _told(error: BaseException, repo: str, doing: str) -> DuomemError:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError

    causes = [error]
    while causes[-1].__cause__ is not None or causes[-1].__context__ is not None:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)  # type: ignore[arg-type]
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return DuomemError("The Hub is not asked while HF_HUB_OFFLINE is set.", "Unset it, and run this again.")
    nothing = "Nothing was published" if doing == "publish" else "Nothing was installed"
    answered = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if answered is None and isinstance(error, ValueError):
        reason = " ".join(str(error).split()).rstrip(".")
        return DuomemError(f"The Hub does not take it: {reason}.", f"{nothing}.")
    if answered is None or answered.response is None:
        return DuomemError(
            f"The Hub cannot be reached ({type(causes[-1]).__name__}).", f"{nothing}; run the same command again."
        )
    status = answered.response.status_code
    if isinstance(answered, RevisionNotFoundError):
        return UsageError(f"{repo} has no such revision on the Hub.", "Name a branch, a tag or a commit of it.")
    if doing == "publish" and status == 401:
        return DuomemError("The Hub does not take the token of this machine.", _LOGIN)
    if doing == "publish" and status == 403:
        return DuomemError(f"The token of this machine may not write to {repo}.", _LOGIN)
    if status in (401, 403, 404):
        return UsageError(
            f"There is no bundle {repo} on the Hub that you may read.",
            "Check the name, or `hf auth login` for a private one.",
        )
    if status in (409, 412):
        return DuomemError(f"{repo} was changed by someone else meanwhile.", f"{nothing}; run the same command again.")
    return DuomemError(f"The Hub answers with HTTP {status}.", f"{nothing}; run the same command again.")
