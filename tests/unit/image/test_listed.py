"""An image in a list is written as it is alone, byte for byte, whatever it holds."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from floe.api.image.fields import FIELDS, listed, shown
from floe.core.images import Image, property_bytes

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from([f.name for f in FIELDS])
PROPERTIES = st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=20), max_size=4)


def image(properties: dict[str, str], tags: tuple[str, ...]) -> Image:
    return Image("i", "né", "p", NOW, NOW, tags=tags, properties=properties)


@given(st.lists(st.tuples(PROPERTIES, st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=2))))
def test_a_list_shows_each_image_as_it_is_shown_alone(drawn: list[tuple[dict[str, str], list[str]]]) -> None:
    images = [image(properties, tuple(tags)) for properties, tags in drawn]
    assert msgspec.json.encode(list(listed(images))) == msgspec.json.encode([shown(each) for each in images])


@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_the_bytes_of_properties_are_those_of_their_names_and_values(properties: dict[str, str]) -> None:
    texts = [text for item in properties.items() for text in item]
    assert property_bytes(properties) == sum(len(text.encode(errors="surrogatepass")) for text in texts)
