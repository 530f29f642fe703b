"""What can go wrong here, in words for the person at the terminal."""


class ServiceError(Exception):
    """A service cannot be started, stopped or found; the text says what to do about it."""
