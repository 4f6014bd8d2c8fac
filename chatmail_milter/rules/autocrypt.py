"""Checks that an Autocrypt field (Autocrypt 1.1, 2.1) is well-formed and its key data is not readable text.

The field is cleartext of up to 16 kB, enough for a message. Key data is Base64 in long lines; text would have
short words between blanks, or, without blanks, more lower-case letters than a key. Whether the octets are a
valid OpenPGP key is left to the recipient's program.
"""

from __future__ import annotations

import base64
import binascii
import re

from chatmail_milter.gate.noise import reads_as_words

# One to four attributes (programs write one or two), then the key.
_FORM = re.compile(
    rb"(?:[ \t\r\n]*(?:addr|prefer-encrypt|_[a-z-]{1,30})[ \t]*=[ \t]*[!-:<-~]{1,256}[ \t\r\n]*;){1,4}"
    rb"[ \t\r\n]*keydata[ \t]*=([A-Za-z0-9+/= \t\r\n]+);?[ \t\r\n]*"
)
# Least length of each line of key data but the first, which shares a line with the attributes, and the last.
# Programs write lines of 64 to 78 characters.
_LINE_LEAST = 32
# Octets that `reads_as_words` checks at a time.
_STRETCH = 510


def is_key(value: bytes) -> bool:
    """Whether the value (still folded) has the form that programs write, and key data that is no text."""
    form = _FORM.fullmatch(value)
    if form is None:
        return False
    lines = form[1].split()
    if any(len(line) < _LINE_LEAST for line in lines[1:-1]):
        return False
    try:
        key = base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        return False
    return not any(reads_as_words(key[at : at + _STRETCH], 0) for at in range(0, len(key), _STRETCH))
