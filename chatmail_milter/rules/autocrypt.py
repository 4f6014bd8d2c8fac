"""Is the value of an Autocrypt field a key (Autocrypt 1.1, 2.1), and not something else to read?

A field of 16 kB in clear is room for a letter. The key in it is an OpenPGP public key in Base64, folded or
broken into lines of one length, which words are not; and without the blanks words still have more letters in
lower case than a key.
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
# RFC 9580, 4.2 and 5.5.1.1: the first octet of a public key's packet, in either format.
_PUBLIC_KEY = frozenset((b"\x98", b"\x99", b"\x9a", b"\xc6"))
# As many octets as are looked at for words at a time.
_STRETCH = 510


def is_key(value: bytes) -> bool:
    """Whether the field's value, folded as it is, has a key in the form that programs write."""
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
    if key[:1] not in _PUBLIC_KEY:
        return False
    return not any(reads_as_words(key[at : at + _STRETCH], 0) for at in range(0, len(key), _STRETCH))
