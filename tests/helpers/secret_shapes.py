"""Makes strings of the shapes of real keys, when tests run; none is ever written down."""

from __future__ import annotations

import base64
import random
import string

import attrs


LETTERS = string.ascii_letters + string.digits
URL_SAFE = LETTERS + "_-"
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
BASE64 = LETTERS + "+/"


@attrs.frozen
class Shape:
    """
    The shape of a key.

    Attributes:
        name: What it is for.
        shown: The part at the beginning that stays.
        alphabet: Of the rest.
        length: Of the rest.
    """

    name: str
    shown: str
    alphabet: str
    length: int

    def make(self, random: random.Random) -> tuple[str, str]:
        """Return a key and what is to be seen of it."""
        body = "".join(random.choices(self.alphabet, k=self.length - 1)) + "7"
        return self.shown + body, self.shown + "*" * self.length


SHAPES = [
    Shape("OpenAI, old", "sk-", LETTERS, 48),
    Shape("OpenAI, project", "sk-proj-", URL_SAFE, 156),
    Shape("OpenAI, service account", "sk-svcacct-", URL_SAFE, 156),
    Shape("OpenAI, admin", "sk-admin-", URL_SAFE, 127),
    Shape("OpenAI, ephemeral", "ek_", HEX, 32),
    Shape("Anthropic", "sk-ant-api03-", URL_SAFE, 95),
    Shape("Anthropic, OAuth", "sk-ant-oat01-", URL_SAFE, 95),
    Shape("Anthropic, admin", "sk-ant-admin01-", URL_SAFE, 95),
    Shape("DeepSeek and others", "sk-", HEX, 32),
    Shape("OpenRouter", "sk-or-v1-", HEX, 64),
    Shape("Langfuse", "sk-lf-", HEX + "-", 36),
    Shape("Google", "AIza", URL_SAFE, 35),
    Shape("Google, 2026", "AQ.", URL_SAFE, 50),
    Shape("Google, OAuth", "ya29.", URL_SAFE, 120),
    Shape("Google, client secret", "GOCSPX-", URL_SAFE, 28),
    Shape("Groq", "gsk_", LETTERS, 52),
    Shape("xAI", "xai-", LETTERS, 80),
    Shape("Perplexity", "pplx-", LETTERS, 48),
    Shape("Hugging Face", "hf_", LETTERS, 34),
    Shape("Replicate", "r8_", LETTERS, 37),
    Shape("Cerebras", "csk-", LETTERS, 48),
    Shape("Fireworks", "fw_", LETTERS, 24),
    Shape("NVIDIA", "nvapi-", URL_SAFE, 64),
    Shape("Tavily", "tvly-", LETTERS, 32),
    Shape("LangSmith", "lsv2_pt_", HEX, 43),
    Shape("AWS", "AKIA", UPPER, 16),
    Shape("AWS, temporary", "ASIA", UPPER, 16),
    Shape("AWS Bedrock", "ABSK", BASE64, 120),
    Shape("DigitalOcean", "dop_v1_", HEX, 64),
    Shape("Cloudflare", "cfut_", LETTERS, 48),
    Shape("Vault", "hvs.", URL_SAFE, 90),
    Shape("GitHub", "ghp_", LETTERS, 36),
    Shape("GitHub, OAuth", "gho_", LETTERS, 36),
    Shape("GitHub, user", "ghu_", LETTERS, 36),
    Shape("GitHub, refresh", "ghr_", LETTERS, 76),
    Shape("GitHub, server", "ghs_", LETTERS + "._", 500),
    Shape("GitHub, fine-grained", "github_pat_", LETTERS + "_", 82),
    Shape("GitLab", "glpat-", URL_SAFE, 20),
    Shape("npm", "npm_", LETTERS, 36),
    Shape("PyPI", "pypi-", URL_SAFE, 170),
    Shape("Docker", "dckr_pat_", URL_SAFE, 27),
    Shape("Slack", "xoxb-", string.digits + "-", 50),
    Shape("Slack, app", "xapp-", string.digits + "-", 60),
    Shape("Stripe", "sk_live_", LETTERS, 24),
    Shape("Stripe, restricted", "rk_live_", LETTERS, 99),
    Shape("Stripe, webhook", "whsec_", LETTERS, 32),
    Shape("Twilio", "SK", HEX, 32),
    Shape("Notion", "ntn_", LETTERS, 46),
    Shape("Figma", "figd_", URL_SAFE, 40),
    Shape("Shopify", "shpat_", HEX, 32),
    Shape("Bearer", "Bearer ", LETTERS, 40),
    Shape("Mistral", "MISTRAL_API_KEY=", LETTERS, 32),
    Shape("Cohere", 'CO_API_KEY="', LETTERS, 40),
    Shape("AWS, secret", "aws_secret_access_key = ", LETTERS, 40),
    Shape("Azure, storage", "AccountKey=", LETTERS, 86),
]


def _url_base64(random: random.Random, text: str, size: int) -> str:
    raw = text.encode() + random.randbytes(size)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def web_token(random: random.Random) -> tuple[str, str]:
    """Return a JSON Web Token and what is to be seen of it."""
    parts = (_url_base64(random, '{"alg":"', size) for size in (30, random.randint(40, 600)))
    token = ".".join((*parts, _url_base64(random, "", 32)))
    return token, token[:3] + "*" * (len(token) - 3)


def basic(random: random.Random) -> tuple[str, str]:
    """Return the value of a basic authentication and what is to be seen of it."""
    user = "".join(random.choices(LETTERS, k=12))
    encoded = base64.b64encode(f"user{user[:4]}:{user}".encode()).decode()
    return f"Basic {encoded}", f"Basic {'*' * len(encoded)}"


def private_key(random: random.Random, joint: str = "\n") -> tuple[str, str]:
    """Return a private key and what is to be seen of it, with any line break."""
    kind = random.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
    lines = ["".join(random.choices(BASE64, k=64)) for _ in range(random.randint(1, 26))]
    begin, end = f"-----BEGIN {kind}PRIVATE" + " KEY-----", f"-----END {kind}PRIVATE" + " KEY-----"
    body = joint + joint.join(lines) + joint
    return begin + body + end, begin + "*" * len(body) + end


def member(random: random.Random) -> tuple[str, str]:
    """Return a member of a JSON object and what is to be seen of it."""
    value = "".join(random.choices(LETTERS + " ;,", k=random.randint(1, 700)))
    return f'"api-key": "{value}"', f'"api-key": "{"*" * len(value)}"'


def parameter(random: random.Random) -> tuple[str, str]:
    """Return a URL with a secret in it and what is to be seen of it."""
    value = "".join(random.choices(URL_SAFE, k=random.randint(1, 700)))
    return f"https://h.example/p?key={value}&a=b", f"https://h.example/p?key={'*' * len(value)}&a=b"


def password(random: random.Random) -> tuple[str, str]:
    """Return a URL with a password in it and what is to be seen of it."""
    value = "".join(random.choices(URL_SAFE, k=random.randint(1, 200)))
    return f"https://ann:{value}@h.example", f"https://ann:{'*' * len(value)}@h.example"


OTHERS = (web_token, basic, private_key, member, parameter, password)


def make(random: random.Random) -> tuple[str, str]:
    """Return any secret and what is to be seen of it."""
    makers = [*(shape.make for shape in SHAPES), *OTHERS, *OTHERS]
    return random.choice(makers)(random)
