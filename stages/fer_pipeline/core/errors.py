"""The exception for errors that the user can fix."""


class InputError(Exception):
    """An error that the user can fix. The message says what was found, where, and what to do."""
