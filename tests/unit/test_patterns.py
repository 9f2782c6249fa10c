"""Regular expressions of users: what is taken, what it means, what is refused, and that nothing takes for ever."""

from __future__ import annotations

import pytest

from floe.core.errors import Invalid
from floe.core.patterns import address_range, plain, translated
from floe.store.patterns import Budget, Pattern


def fits(pattern: str, text: str) -> bool:
    return Pattern(pattern, "name").fits(text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"^web\d$", "web1 WEB7 web٣", "web webd web12"),
        (r"^(a-)?pool-", "pool-1 a-pool-2", "b-pool-3"),
        ("a|b", "xa bx", "c"),
        ("x?", "x abc", ""),
        ("^x?$", "x X", "xx"),
        ("web{2}", "webb", "web"),
        ("^a{,2}b$", "b ab aab", "aaab"),
        (r"web\.one", "web.one", "webxone"),
        ("web.one", "web.one webxone", "webone"),
        ("[[:<:]]web[[:>:]]", "web a.web-1", "webs cobweb"),
        (r"\bweb\b", "web a.web-1", "webs cobweb"),
        ("^[[:alpha:]]+$", "abc éü", "a1"),
        ("^[[:alnum:]_]+$", "a1_é", "a-b"),
        ("^[^[:digit:]]+$", "abc", "a1 ٣"),
        (r"^\w+$", "abc é_9 中文", "a-b"),
        (r"^\W$", "- ·", "a é"),
        (r"^[\w.]+$", "é.b", "a-b"),
        (r"^[\W]$", "-", "a"),
        (r"^\S+$", "ab", ""),
        (r"^[\d-]+$", "1-2", "a"),
        ("(?i)WEB", "web", "wed"),
        ("(?:a|b)c", "ac bc", "cc"),
        ("(?P<n>a)b", "ab", "b"),
        ("(?#comment)a", "a", "b"),
        ("É", "é É", "e"),
        (r"\é", "é", "e"),
        (r"\u00e9\x41\101", "éAA", "eAA"),
        ("[]a]", "] a", "b"),
        ("[[]", "[", "a"),
        ("^[^]a]$", "b", "] a"),
        ("[a&&b]", "a & b", "c"),
        (r"\Aa\Z", "a", "ab"),
        ("a{x", "a{x", "a"),
        ("{}", "{}", "{"),
        # possessive, and no different from greedy
        ("c++", "c++ gcc", "d"),
        ("g++$", "bag eg", "bags"),
        ("lib-c++-dev", "lib-c++-dev lib-cc-dev", "lib-dev"),
        ("a*+|b", "b", ""),
        (r"^[0-9]++$", "12", "1a"),
    ],
)
def test_a_pattern_finds_what_it_should(pattern: str, yes: str, no: str) -> None:
    assert [text for text in yes.split() if not fits(pattern, text)] == []
    assert [text for text in no.split() if fits(pattern, text)] == []


@pytest.mark.parametrize("name", ["web (1)", "c++", "a.b", "[x]", "what?", "a|b", "$5", "^", "1*2", "a\\.b", "x{2}"])
def test_what_is_literally_the_pattern_fits(name: str) -> None:
    assert fits(name, name)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", r"missing \)"),
        (")", r"unexpected \)"),
        ("[a", "does not end"),
        ("[z-a]", "z-a"),
        ("a**", "repetition"),
        ("*a", "repetition"),
        ("a\\", "backslash"),
        ("[\\", "backslash"),
        (r"(a)\1", "back-references"),
        ("(?=a)", "group"),
        ("(?!a)", "group"),
        ("(?<=a)b", "group"),
        ("(?<!a)b", "group"),
        ("(?>a)b", "group"),
        ("(?P=n)", "group"),
        ("(?(1)a|b)", "group"),
        ("(?x)a b", "group"),
        ("a{1001}", "1001"),
        ("(a{1000}){1000}", "1000"),
        ("c++c", "possessive"),
        ("c++C", "possessive"),
        ("c++b*c", "possessive"),
        ("c++.", "possessive"),
        ("(c++)c", "possessive"),
        ("(ab)++$", "possessive"),
        (r"\q", "q"),
        (r"\Qa", "Q"),
        (r"\ud800", "no character"),
        (r"\U00110000", "no character"),
        ("[[:nonsense:]]", "alpha"),
        ("[[.a.]]", "alpha"),
        ("[[=a=]]", "alpha"),
        (r"[\S]", r"\\S"),
        ("x" * 256, "255"),
        ("", "empty"),
        (r"\w{999}", "large"),
    ],
)
def test_what_would_be_read_differently_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as raised:
        Pattern(pattern, "description")
    assert "description" in raised.value.message


@pytest.mark.parametrize(
    "pattern", ["(a*)*$", "(x+x+)+y", "(a|aa)+$", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)z", "^(a?){30}a{30}$"]
)
def test_what_explodes_elsewhere_is_found_at_once(pattern: str) -> None:
    found = Pattern(pattern, "name")
    assert [found.fits("x" * 255) for _ in range(100)] == [pattern == "(a*)*$"] * 100


def test_a_search_that_costs_too_much_is_given_up() -> None:
    budget = Budget(seconds=0)
    with pytest.raises(Invalid, match="takes too long"):
        for _ in range(1000):
            budget.spend()


def test_nothing_fits_what_is_no_text() -> None:
    assert not Pattern(".*", "name").fits(None)


@pytest.mark.parametrize(
    ("pattern", "text", "start", "end"),
    [
        ("web", "web", False, False),
        ("^web$", "web", True, True),
        (r"web\.", "web.", False, False),
        (r"web\$", "web$", False, False),
        (r"web\\$", "web\\", False, True),
        ("50%_", "50%_", False, False),
        ("^", "", True, False),
    ],
)
def test_a_plain_text_is_known_as_one(pattern: str, text: str, start: bool, end: bool) -> None:
    found = plain(pattern)
    assert found is not None
    assert (found.text, found.start, found.end) == (text, start, end)


@pytest.mark.parametrize("pattern", ["a.b", r"\d", "a+", "é", "a\nb", "(", "a|b", "^a^", "a$b", "\\"])
def test_what_is_more_than_a_text_is_not_plain(pattern: str) -> None:
    assert plain(pattern) is None


def test_addresses_that_begin_with_whole_numbers_are_a_range() -> None:
    assert address_range(r"^10\.0\.0\.5$") == (0x0A000005, 0x0A000005)
    assert address_range(r"^10\.0\.") == (0x0A000000, 0x0A00FFFF)
    others = r"^10$ 10.0.0.5 ^10.0 10\.0\. ^10\.0 ^10\.0\.0\.5 ^10\.0\.0\.5\. ^300\. ^$ x ^01\."
    assert [pattern for pattern in others.split() if address_range(pattern) is not None] == []


def test_a_translation_is_one_that_python_reads_alike() -> None:
    """What neither of them has words of its own for is passed on as it is."""
    for pattern in ("web", "^a.*b$", "(a|b)+?c{2,3}", "[a-z0-9_.-]+", r"a\.b\-c", "x*?y??"):
        assert translated(pattern, "name") == pattern
