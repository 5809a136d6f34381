"""The one kind of error that a user can mend."""


class InputError(Exception):
    """An error that the user can fix. The message says what was found, where, and what to do."""
