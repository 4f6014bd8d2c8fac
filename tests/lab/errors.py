"""The lab's one error: a line for whoever typed the command, beginning with what to do."""


class LabError(Exception):
    """Its text is one line that begins with what to do about it."""
