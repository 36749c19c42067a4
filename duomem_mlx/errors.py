"""What a person is told when something goes wrong: one sentence, and what to do next."""


class DuomemError(Exception):
    """The program could not do what was asked; `str()` of it is the whole message for a person."""

    exit_status = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what = what
        self.fix = fix


class UsageError(DuomemError):
    """The call's own words are off: a wrong path, an unknown name, options that contradict each other."""

    exit_status = 2


class DuomemWarning(UserWarning):
    """Something a person should know that stops nothing; `str()` of it is the whole line."""


def refuse_newer(what: str, version: object, newest: int) -> None:
    """Raise DuomemError where a format number is above the newest that is read here; `what` begins the sentence."""
    if isinstance(version, int) and version > newest:
        raise DuomemError(
            f"{what} has format {version}, this version reads up to {newest}.", "Install a newer duomem-mlx."
        )
