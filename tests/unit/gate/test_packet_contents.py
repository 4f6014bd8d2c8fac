"""Contents of packets: sizes that real writers use, a valid SEIPD, and octets that can be ciphertext."""

from __future__ import annotations

import base64
from math import comb

import pytest

from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.packets import Packets
from chatmail_milter.gate.randomness import high_bits, plausible, reads_as_words
from tests import packets as p

PROSE = (b"Dear Bob, meet me at nine behind the old mill, and bring all that you found there. " * 40)[:3000]
CYRILLIC = ("Встретимся в девять за старой мельницей, и возьми всё, что нашёл. " * 40).encode()
UTF16 = PROSE.decode().encode("utf-16-be")
BASE64 = base64.b64encode(p.noise(3000))


def walk(octets: bytes, *, strict: bool = True) -> str:
    """`pass`, or the reason of the refusal, which is the same in chunks of any size."""
    found = set()
    for chunk in (1, 7, 100, len(octets) or 1):
        walker = Packets(strict=strict)
        try:
            for at in range(0, len(octets), chunk):
                walker.feed(octets[at : at + chunk])
            walker.finish()
            found.add("pass")
        except RefusedError as refusal:
            found.add(refusal.reason)
    assert len(found) == 1
    return found.pop()


def seipd1(size: int) -> bytes:
    """A SEIPD of version 1 with so many octets in all."""
    return p.new(p.SEIPD, b"\x01" + p.noise(size - 1))


def seipd2(beginning: bytes, size: int = 400) -> bytes:
    return p.new(p.SEIPD, beginning + p.noise(size - len(beginning)))


# RFC 9580, 5.13.1: a block, two octets again, and 22 octets of MDC; 5.13.2: a salt of 32, two tags of 16.
@pytest.mark.parametrize(
    ("octets", "least"), [(seipd1, 41), (lambda size: seipd2(b"\x02\x09\x02\x06", size), 68)]
)
def test_a_seipd_can_hold_what_its_version_demands(octets: object, least: int) -> None:
    assert callable(octets)
    assert walk(octets(least)) == "pass"
    assert walk(octets(least - 1)) == "packets-size-18"
    assert walk(octets(5)) == "packets-size-18"


@pytest.mark.parametrize("cipher", [7, 8, 9, 10, 11, 12, 13])
@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("chunk_size", [0, 6, 16])
def test_a_seipd_of_version_2_passes_with_every_algorithm(cipher: int, mode: int, chunk_size: int) -> None:
    assert walk(seipd2(bytes((2, cipher, mode, chunk_size)))) == "pass"


@pytest.mark.parametrize(
    "beginning", [(0, 2, 6), (3, 2, 6), (14, 2, 6), (72, 2, 6), (9, 0, 6), (9, 4, 6), (9, 2, 17), (9, 2, 101)]
)
def test_and_with_no_other(beginning: tuple[int, int, int]) -> None:
    assert walk(seipd2(bytes((2, *beginning)))) == "packets-seipd-header"


@pytest.mark.parametrize("text", [PROSE, BASE64, bytes(3000), b"\xff" * 3000])
@pytest.mark.parametrize("size", [64, 65, 100, 500, 1024, 3000])
def test_text_framed_as_a_seipd_is_refused(text: bytes, size: int) -> None:
    assert walk(p.new(p.SEIPD, b"\x01" + text[:size])) == "packets-readable"
    assert walk(p.new(p.SEIPD, p.SEIPD2_BEGINNING + text[: size + 4])) == "packets-readable"
    assert walk(p.pkesk() + p.new(p.SEIPD, b"\x01" + text[:size], length_octets=5)) == "packets-readable"


def test_so_is_a_text_as_short_as_a_seipd_can_be() -> None:
    assert walk(p.new(p.SEIPD, b"\x01" + PROSE[:40])) == "packets-readable"


@pytest.mark.parametrize("text", [UTF16, CYRILLIC])
@pytest.mark.parametrize("size", [200, 500, 1024, 3000])
def test_so_is_text_in_other_alphabets_and_encodings(text: bytes, size: int) -> None:
    # Cyrillic in UTF-8 has the high bit in all but spaces and stops: fewer octets of it are like some noise.
    assert walk(p.new(p.SEIPD, b"\x01" + text[:size])) == "packets-readable"
    assert walk(p.new(p.PKESK, b"\x03" + text[:size]) + p.seipd()) in ("packets-readable", "packets-size-1")


# As many characters of Base64 as three octets make, in front of which any number of octets may stand.
SENTENCE = "Itwasthebestoftimesitwastheworstoftimesitwastheageofwisdomitwastheageoffoolishness" * 40


@pytest.mark.parametrize(
    "before", [b"", p.new(p.PADDING, b""), p.new(p.PADDING, b"x"), p.pkesk(), p.skesk() * 2]
)
@pytest.mark.parametrize("size", [60, 100, 384, 1800])
def test_base64_of_words_without_spaces_is_refused(before: bytes, size: int) -> None:
    for beginning in (b"\x01", p.SEIPD2_BEGINNING + p.noise(32)):
        # What follows a five-octet length, from the next whole three on.
        filler = p.noise(-(len(before) + 6 + len(beginning)) % 3)
        words = base64.b64decode(SENTENCE[: size // 3 * 4])
        octets = before + p.new(p.SEIPD, beginning + filler + words, length_octets=5)
        assert SENTENCE[: size // 3 * 4] in base64.b64encode(octets).decode()
        if len(beginning) == 1 or size >= 384:
            assert walk(octets) == "packets-readable"


@pytest.mark.parametrize("size", [81, 102, 126, 198, 999, 2301])
def test_so_is_base64_of_words_in_a_session_key(size: int) -> None:
    words = base64.b64decode(SENTENCE[: size // 3 * 4])
    octets = p.new(p.MARKER, b"PGP") + p.new(p.PKESK, b"\x03" + words, length_octets=5) + p.seipd()
    assert len(p.new(p.MARKER, b"PGP") + b"\xc1\xff1234\x03") % 3 == 0
    assert walk(octets) == "packets-readable"


@pytest.mark.parametrize(
    "text",
    [
        "IT/WAS/THE/BEST/OF/TIMES/IT/WAS/THE/WORST/OF/TIMES/IT/WAS/THE/AGE/OF/WISDOM/",
        "It/Was/The/Best/Of/Times/It/Was/The/Worst/Of/Times/It/Was/The/Age/Of/Wisdom/",
        "It+was+THE+best+OF+times+it+was+THE+worst+OF+times+it+was+THE+age+OF+wisdom+",
        "iTWAsTHEbESToFTIMeSITwASTHeWORsTOFtIMESiTWAsTHEaGEOFWiSDOMITwASTHeAGEOfFOOL",
        "It0Was0The0Best0Of0Times1It0Was0The0Worst0Of0Times1It0Was0The0Age0Of0Wisdom1",
        "ES/WAR/DIE/BESTE/UND/DIE/SCHLIMMSTE/ZEIT/DAS/ZEITALTER/DER/WEISHEIT/UND/DER/TORHEIT/",
        "C/ETAIT/LE/MEILLEUR/ET/LE/PIRE/DE/TOUS/LES/TEMPS/LE/SIECLE/DE/LA/FOLIE/",
    ],
)
@pytest.mark.parametrize("size", [384, 999])
def test_so_are_words_in_capitals_and_with_blanks_of_any_kind(text: str, size: int) -> None:
    words = base64.b64decode((text * 40)[: size // 3 * 4])
    # From the next whole three on.
    octets = p.new(p.SEIPD, b"\x01" + p.noise(2) + words, length_octets=5)
    assert (text * 40)[:400] in base64.b64encode(octets).decode()
    assert walk(octets) == "packets-readable"
    key = p.new(p.MARKER, b"PGP") + p.new(p.PKESK, b"\x03" + words, length_octets=5)
    assert walk(key + p.seipd()) == "packets-readable"


@pytest.mark.parametrize("count", [52, 100, 680])
@pytest.mark.parametrize(("one", "other", "kinds"), [("d", "D", 26), ("E", "D", 22), ("/", "1", 22)])
def test_the_probability_of_a_false_alarm_by_words(count: int, one: str, other: str, kinds: int) -> None:
    def refused(number: int) -> bool:
        return reads_as_words(base64.b64decode(one * number + other * (count - number)), 0)

    most = next(most for most in range(count) if refused(most + 1))
    # Of 64 characters 26 are in lower case, and 22 are common ones. Exactly, times 64 ** count:
    beyond = sum(comb(count, k) * kinds**k * (64 - kinds) ** (count - k) for k in range(most + 1, count + 1))
    assert beyond << 64 <= 1 << 6 * count
    assert (beyond + comb(count, most) * kinds**most * (64 - kinds) ** (count - most)) << 64 > 1 << 6 * count


@pytest.mark.parametrize("power", [9, 10, 12])
def test_lengths_in_between_count_for_nothing(power: int) -> None:
    assert walk(p.partial(p.SEIPD, b"\x01" + PROSE + p.noise(5000), power)) == "packets-readable"
    assert walk(p.partial(p.SEIPD, b"\x01" + p.noise(5000), power)) == "pass"


# RSA of 1024 to 16384 bits, X25519 and X448 by 9580, ML-KEM-768 with X25519, ML-KEM-1024 with X448.
@pytest.mark.parametrize("size", [67, 83, 140, 268, 524, 1036, 2060, 76, 106, 1174, 1700])
@pytest.mark.parametrize("version", [3, 6])
def test_a_session_key_has_a_real_size(size: int, version: int) -> None:
    assert walk(p.new(p.PKESK, bytes((version,)) + p.noise(size)) + p.seipd()) == "pass"


@pytest.mark.parametrize("size", [0, 1, 10, 40, 58, 2304, 5000, 100_000])
def test_and_no_other(size: int) -> None:
    reason = walk(p.new(p.PKESK, b"\x03" + p.noise(size)) + p.seipd())
    assert reason == "packets-size-1"


@pytest.mark.parametrize("text", [PROSE, BASE64])
@pytest.mark.parametrize("size", [75, 100, 500, 2000])
def test_text_in_a_session_key_is_refused(text: bytes, size: int) -> None:
    for version in (3, 6):
        packet = p.new(p.PKESK, bytes((version,)) + text[:size])
        assert walk(p.pkesk() + packet + p.pkesk() + p.seipd()) == "packets-readable"


def test_text_in_many_small_packets_is_refused() -> None:
    pieces = [PROSE[at : at + 60] for at in range(0, 600, 60)]
    assert walk(b"".join(p.new(p.PKESK, b"\x03" + each) for each in pieces) + p.seipd()) == "packets-readable"
    pieces = [PROSE[at : at + 30] for at in range(0, 300, 30)]
    assert walk(b"".join(p.new(p.SKESK, b"\x04" + each) for each in pieces) + p.seipd()) == "packets-readable"
    assert walk(b"".join(p.new(p.PADDING, each) for each in pieces) + p.seipd()) == "packets-readable"


def test_a_recipient_need_not_be_named() -> None:
    # GnuPG's --throw-keyids: eight octets of zero where a key's number would be.
    packet = p.new(p.PKESK, b"\x03" + bytes(8) + b"\x12\x01\x07\x40" + p.noise(32) + b"\x30" + p.noise(48))
    assert walk(packet * 1000 + p.seipd()) == "pass"


# RFC 9580, 3.7: simple, salted, iterated, Argon2; 5.3: with a session key encrypted under it, or none.
@pytest.mark.parametrize(
    "body",
    [
        b"\x04\x09\x00\x08",
        b"\x04\x09\x03\x08" + p.noise(8) + b"\xff",
        b"\x04\x09\x03\x08" + p.noise(8) + b"\xff" + p.noise(33),
        b"\x04\x09\x04" + p.noise(16) + b"\x01\x04\x15",
        b"\x05\x09\x02\x03\x08" + p.noise(8) + b"\xff" + p.noise(63),
        b"\x06\x1d\x09\x02\x0b\x03\x08" + p.noise(8) + b"\xff" + p.noise(63),
        b"\x06\x26\x09\x02\x14\x04" + p.noise(16) + b"\x01\x04\x15" + p.noise(64),
    ],
)
def test_a_password_has_a_real_form(body: bytes) -> None:
    assert walk(p.new(p.SKESK, body) * 20 + p.seipd()) == "pass"


@pytest.mark.parametrize("size", [1, 2, 128, 1000, 100_000])
def test_a_password_has_a_real_size(size: int) -> None:
    assert walk(p.new(p.SKESK, b"\x04" + p.noise(size)) + p.seipd()) == "packets-size-3"


@pytest.mark.parametrize("tag", [p.PADDING, 40, 59, 60, 63])
def test_what_readers_skip_is_skipped_from_peers_and_bounded_in_all(tag: int) -> None:
    assert walk(p.new(tag, b"hi") + p.pkesk() + p.seipd(), strict=False) == "pass"
    assert walk(p.pkesk() + p.new(tag, p.noise(1024)) + p.seipd(), strict=False) == "pass"
    assert walk(p.new(tag, p.noise(512)) * 2 + p.seipd(), strict=False) == "pass"
    assert (
        walk(p.new(tag, p.noise(512)) * 2 + p.new(tag, b"x") + p.seipd(), strict=False) == "packets-skipped"
    )
    assert walk(p.new(tag, p.noise(100_000)) + p.seipd(), strict=False) == "packets-skipped"
    assert walk(p.new(tag, PROSE[:64]) + p.seipd(), strict=False) == "packets-readable"
    assert walk(p.seipd() + p.new(tag, b"hi"), strict=False) == "packets-after-seipd"


def test_a_user_pads_and_adds_nothing_else() -> None:
    assert walk(p.new(p.PADDING, p.noise(100)) + p.seipd()) == "pass"
    for tag in (40, 60, 63):
        assert walk(p.new(tag, b"hi") + p.seipd()) == f"packets-tag-{tag}"


@pytest.mark.parametrize("tag", [0, 2, 5, 12, 13, 17, 19, 22, 39])
def test_what_readers_must_know_is_refused(tag: int) -> None:
    assert walk(p.new(tag, b"hi") + p.seipd(), strict=False) == f"packets-tag-{tag}"


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, 63, 64, 65, 80, 100, 255, 1000, 1024, 2304, 4096])
def test_the_probability_of_a_false_alarm(count: int) -> None:
    """Exactly: the sum of the binomial distribution over all counts that are refused."""
    refused = sum(comb(count, high) for high in range(count + 1) if not plausible(count, high))
    # 2^-39 of 40 octets, the fewest that a SEIPD has; from 64 on at most 2^-63.
    assert refused * (1 << (39 if count < 64 else 63)) <= 1 << count
    # And no smaller than need be: one more on each side would be too much.
    least = next(high for high in range(count) if plausible(count, high))
    assert least == 1 or sum(comb(count, high) for high in range(least + 1)) * (1 << 64) > 1 << count
    assert plausible(count, count // 2)


def test_the_high_bits_are_counted() -> None:
    assert high_bits(bytes(range(256))) == 128
    assert high_bits(PROSE) == 0
