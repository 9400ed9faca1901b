"""Errors of downloads; httpx need not be installed for them."""

from pathlib import Path

from pipeline.errors import GraphinatorError


class FetchError(GraphinatorError):
    """Dumps cannot be downloaded."""


class NotPublished(FetchError):
    """The site lists no complete month that was asked for."""


class SiteRefused(FetchError):
    """The site refuses a request."""


class SiteUnavailable(FetchError):
    """The site does not answer, or not with all that was asked for.

    `pause_seconds` is the pause that it asks for, if it does.
    """

    def __init__(self, message: str, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds

    def is_retryable(self) -> bool:
        """Another request may be answered."""
        return True


class FetchBusy(GraphinatorError):
    """Another process downloads into the same folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder}: another download into this folder is under way")
