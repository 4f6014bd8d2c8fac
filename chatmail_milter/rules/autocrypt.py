"""Does the value of an Autocrypt field have the form of one (Autocrypt 1.1, 2.1), with nothing to read in it?

A field of 16 kB in clear is room for a letter. The key in it is Base64, folded or broken into lines of one
length, which words are not; and without the blanks words still have more letters in lower case than a key.
Whether the octets are a key is for the program that reads it: what can't be read is no letter.
"""

from __future__ import annotations

import base64
import binascii
import re

from chatmail_milter.gate.noise import reads_as_words

# Attributes, then the key. Programs write two of them, or one.
_FORM = re.compile(
    rb"(?:[ \t\r\n]*(?:addr|prefer-encrypt|_[a-z-]{1,30})[ \t]*=[ \t]*[!-:<-~]{1,256}[ \t\r\n]*;){1,4}"
    rb"[ \t\r\n]*keydata[ \t]*=([A-Za-z0-9+/= \t\r\n]+);?[ \t\r\n]*"
)
# Of all lines but the first, which the rest of the field may shorten, and the last. Programs write 64 to 78.
_LINE_LEAST = 32
# As many octets as are looked at for words at a time.
_STRETCH = 510


def is_key(value: bytes) -> bool:
    """Whether the value, folded as it is, has the form that programs write, and no words for a key."""
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
