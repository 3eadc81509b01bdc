"""Lets schemathesis send what /v1/publish takes: lines of JSON, some of which are publications."""

import schemathesis
from hypothesis import strategies as st

LINES = [
    '{"channel":"news","text":"hello"}',
    '{"channel":"news","data":null,"version":1}',
    '{"channel":"a b","text":"no such name"}',
    "not JSON",
    "",
]

schemathesis.openapi.media_type(
    "application/x-ndjson",
    st.lists(st.sampled_from(LINES)).map(lambda lines: "\n".join(lines).encode()),
)


@schemathesis.serializer("application/x-ndjson")
def as_it_is(_context, value):
    """The lines are text already."""
    return value if isinstance(value, bytes) else str(value).encode()
