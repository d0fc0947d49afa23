"""What is masked in texts, and what is not."""

from __future__ import annotations

import base64
import json
import random
import uuid

import pytest

import secret_shapes
from perimeter import redaction
from secret_shapes import SHAPES


X = "x1Y2" * 8
"""Stands for the secret part of a key."""
STARS = "*" * len(X)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize(
    "surroundings",
    ["{}", "key: {}", "({})", "<{}>", "`{}`", "see {}, please", "a\n{}\nb", "é{}é", "\\n{}\\n"],
)
def test_keys_are_masked(shape, surroundings):
    """A key of each shape is masked next to any punctuation; its prefix stays."""
    key, shown = shape.make(random.Random(1))

    assert redaction.text(surroundings.format(key)) == surroundings.format(shown)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_keys_in_json_are_masked(shape, depth):
    """A key in a JSON string is masked, and in JSON in JSON; what comes out is still JSON."""
    key, shown = shape.make(random.Random(2))
    text, expected = ({"text": [f"{each}\n"]} for each in (key, shown))
    for _ in range(depth):
        text, expected = json.dumps(text), json.dumps(expected)

    assert redaction.text(text) == expected
    assert redaction.data(text.encode()) == (expected.encode(), 1)


@pytest.mark.parametrize("maker", secret_shapes.OTHERS, ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("seed", range(20))
def test_other_secrets_are_masked(maker, seed):
    """Tokens, basic authentication and private keys are masked to their end."""
    secret, shown = maker(random.Random(seed))

    assert redaction.text(f"({secret})") == f"({shown})"


@pytest.mark.parametrize("joint", ["\n", "\r\n", "\\n", "\\\\n", "\\r\\n", " "])
def test_private_keys_are_masked_with_any_line_break(joint):
    """Line breaks may be escaped, as in JSON, or twice."""
    key, shown = secret_shapes.private_key(random.Random(5), joint)

    assert redaction.text(f'"{key}"') == f'"{shown}"'


def test_private_keys_with_headers_are_masked():
    """The lines of an old encrypted key in front of its body are masked with it."""
    begin = "-----BEGIN RSA PRIVATE" + " KEY-----"
    headers = "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n"
    key = f"{begin}{headers}{X}\n{X}\n-----END"

    assert redaction.text(key) == begin + "*" * (len(key) - len(begin) - 8) + "-----END"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"api_key": "hunter two"}', '{"api_key": "**********"}'),
        ('{"password":"a\\"b","c":"d"}', '{"password":"****","c":"d"}'),
        ('{"x-api-key" : "hunter"}', '{"x-api-key" : "******"}'),
        ('{"OPENAI_API_KEY": "hunter"}', '{"OPENAI_API_KEY": "******"}'),
        ('{"clientSecret":"hunter"}', '{"clientSecret":"******"}'),
        ("{'authorization': 'hunter'}", "{'authorization': '******'}"),
        ('{"refresh_token":"hunter","n":1}', '{"refresh_token":"******","n":1}'),
        (r'{"a":"{\"password\":\"hunter\"}"}', r'{"a":"{\"password\":\"******\"}"}'),
        (r'{"a":"{\"password\":\"h\\\"i\\\\\",\"b\":1}"}',
         r'{"a":"{\"password\":\"**********\",\"b\":1}"}'),
        ("GET https://a/b?key=hunter&x=1 failed", "GET https://a/b?key=******&x=1 failed"),
        ("https://a/b?x=1&X-Amz-Signature=hunter", "https://a/b?x=1&X-Amz-Signature=******"),
        (r'{"url":"https://a/?x=1\u0026token=hunter"}', r'{"url":"https://a/?x=1\u0026token=******"}'),
        ("https://ann:hunter2@a.example/", "https://ann:*******@a.example/"),
        ("postgresql://ann:hunter2@db:5432/x", "postgresql://ann:*******@db:5432/x"),
    ],
)  # fmt: skip
def test_values_are_masked_by_their_name_or_place(text, masked):
    """Members named like secrets, parameters of URLs and passwords in them."""
    assert redaction.text(text) == masked


@pytest.mark.parametrize(
    ("letters", "rest", "masked"),
    [(63, "1", True), (64, "", True), (63, "", False), (86, "==", True)],
)
def test_long_values_need_no_digit(letters, rest, masked):
    """One random key in a thousand has no digit for long; shorter words without one are words."""
    value = "Ab" * (letters // 2) + "x" * (letters % 2) + rest

    shown = "*" * len(value) if masked else value
    assert redaction.text(f"AccountKey={value}\n") == f"AccountKey={shown}\n"


PROSE = [
    "token: something, and the token is something else",
    "password: hunter, my password: correct horse battery staple",
    "the secret: nobody knows it; API key: see the manual",
    "api_key = os.environ['OPENAI_API_KEY']",
    "api_key=settings.openai_api_key, token=get_token_from_environment_v2()",
    "import sklearn; pip install sk-" + "learn-based-classification-with-long-names",
    "risk-assessment-of-something-important-in-2026-and-later-years-too",
    "task-management-system-for-teams, disk-usage-of-a-very-large-partition",
    "sk-" + "SK-Chirp3-HD-Achernar and sk-SK-ViktoriaNeural are voices",
    "hf_transformers_model_name_or_path, hf_hub_download",
    "pplx-70b-online, xai-explainability-methods-survey-of-methods",
    "npm_config_registry_and_other_settings_of_the_package_manager",
    "Basic understanding of a bearer certificate; Basic HTML5/CSS3/JavaScript",
    "bearer authentication/authorization, Basic python3.11 knowledge",
    "AKI, sk-, ghp_, AIza and eyJ are only prefixes",
    '{"max_tokens": 1024, "password": 1, "secretary": "Ann", "token": "Hello"}',
    '{"logprobs": [{"token": "Hi", "bytes": [72, 105]}], "system_fingerprint": "fp_0123456789"}',
    '{"properties": {"password": {"type": "string"}, "api_key": {"type": "string"}}}',
    "commit 2cd1267f0a4d55a8d778e5022fab701977c5d840 by git@example.com:team/repo.git",
    "https://host:8080/path?page_key=3#a@b and https://medium.com/@ann/1 and ssh://git@host/x",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "A key begins with -----BEGIN PRIVATE" + " KEY----- and ends likewise.",
    "the sunk_cost SKILL_ISSUE SG.something AQ.one",
    "call_Ab12Cd34Ef56Gh78Ij90Kl12 toolu_01Ab12Cd34Ef56Gh78Ij90Kl chatcmpl-Ab12Cd34Ef56Gh78Ij90Kl1",
    "resp_0123456789abcdef0123456789abcdef msg_0123456789abcdef0123456789abcdef0123",
    "ses-0123456789abcdef ex-0123456789abcdef0123",
]


@pytest.mark.parametrize("text", PROSE)
def test_prose_stays(text):
    """Ordinary text, code, and ids that are no secrets are left alone, the very same object."""
    body = text.encode()

    assert redaction.text(text) is text
    assert redaction.data(body)[0] is body


@pytest.mark.parametrize("prefix", ["sk-", "hf_", "AKIA", "AIza", "key-", "SG.", "ghp_"])
@pytest.mark.parametrize("before", ["ri", "9", "Z"])
def test_the_end_of_a_word_is_no_prefix(prefix, before):
    """With a letter or digit in front, what looks like a prefix is a part of something else."""
    text = f"the {before}{prefix}{'A1B2' * 12}.{'A1B2' * 12} there"

    assert redaction.text(text) is text


@pytest.mark.parametrize("seed", range(30))
def test_digests_uuids_and_pictures_stay(seed):
    """What is random and no key: digests, UUIDs, megabytes of Base64, binary data."""
    chance = random.Random(seed)
    raw = chance.randbytes(60_000)
    texts = [
        raw[:20].hex(),
        raw[:32].hex(),
        str(uuid.UUID(bytes=raw[:16], version=4)),
        base64.b64encode(raw).decode(),
        "data:image/png;base64," + base64.b64encode(raw[:20_000]).decode(),
    ]

    for text in texts:
        assert redaction.text(f'{{"a": "{text}"}}') == f'{{"a": "{text}"}}'


def test_what_is_masked_already_stays():
    """The second time there is nothing to do, and it is said so."""
    once = redaction.text(f"key sk-proj-{X}, https://a:b@c, ?key=abc")

    assert redaction.text(once) is once
    assert redaction.data(once.encode()) == (once.encode(), 0)


def test_the_number_of_secrets_is_told():
    """Each secret counts once."""
    assert redaction.data(f"sk-{X} ghp_{X} and nothing".encode())[1] == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le"])
def test_any_bytes_are_taken(encoding):
    """Bytes around a key may be of any encoding; only ASCII keys are found in them."""
    body = b"\xff\xfe" + "über ".encode(encoding) + f" sk-{X} ".encode() + bytes(range(128, 256))
    masked, count = redaction.data(body)

    assert (masked, count) == (body.replace(X.encode(), STARS.encode()), 1)


def test_excerpts_show_nothing_of_a_secret_across_their_end():
    """An excerpt is masked like the whole, however much of a key it would keep."""
    text = f"take sk-{X} now"

    for limit in range(len(text) + 5):
        assert redaction.excerpt(text, limit) == f"take sk-{STARS} now"[:limit]
