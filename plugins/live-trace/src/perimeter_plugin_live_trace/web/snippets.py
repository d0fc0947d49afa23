"""What the connect page shows to be copied: clients, headers, and assistants' MCP settings."""

from __future__ import annotations

import msgspec


class Snippet(msgspec.Struct, frozen=True):
    """A piece of code: where it goes, and its words."""

    label: str
    text: str


class Tab(msgspec.Struct, frozen=True):
    """What one client or assistant needs."""

    key: str
    label: str
    about: str
    snippets: tuple[Snippet, ...]


class Header(msgspec.Struct, frozen=True):
    """A request header that the proxy understands."""

    name: str
    about: str
    example: str


HEADERS = (
    Header(
        "x-perimeter-conversation-id",
        "The session that the call belongs to. Without it, sessions are found by their messages.",
        "support-4711",
    ),
    Header(
        "x-perimeter-prompt-id",
        "The agent that calls. Without it, calls with the same system prompt are one agent.",
        "billing-agent-v3",
    ),
    Header(
        "x-perimeter-agent-id",
        "The agent, where no prompt is named.",
        "billing-agent",
    ),
    Header(
        "x-perimeter-tags",
        "Labels of the session, to filter by; repeated ones replace the older value.",
        "team:payments,env:staging",
    ),
    Header("x-perimeter-record", "“off” keeps the call out of every record.", "off"),
    Header(
        "x-perimeter-token",
        "The client's token, where the proxy asks for one.",
        "the token",
    ),
)


def clients(proxy: str) -> list[Tab]:
    """Return snippets for clients of a proxy, by its address."""
    return [_openai(proxy), _anthropic(proxy), _gemini(proxy), _langchain(proxy), _curl(proxy)]


def _openai(proxy: str) -> Tab:
    python = f'''from openai import OpenAI

client = OpenAI(base_url="{proxy}/v1")
reply = client.chat.completions.create(
    model="gpt-5.4-mini",
    messages=[{{"role": "user", "content": "What is 17 * 23?"}}],
)
print(reply.choices[0].message.content)
'''
    script = f'''import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{proxy}/v1" }});
const reply = await client.chat.completions.create({{
  model: "gpt-5.4-mini",
  messages: [{{ role: "user", content: "What is 17 * 23?" }}],
}});
console.log(reply.choices[0].message.content);
'''
    shell = f'export OPENAI_BASE_URL="{proxy}/v1"\n'
    return Tab(
        "openai",
        "OpenAI",
        "Also for servers that speak the same API. The base URL ends in /v1.",
        (Snippet("Python", python), Snippet("JavaScript", script), Snippet("Environment", shell)),
    )


def _anthropic(proxy: str) -> Tab:
    python = f'''from anthropic import Anthropic

client = Anthropic(base_url="{proxy}")
message = client.messages.create(
    model="claude-haiku-5-5",
    max_tokens=200,
    messages=[{{"role": "user", "content": "What is 17 * 23?"}}],
)
print(message.content[0].text)
'''
    script = f'''import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{ baseURL: "{proxy}" }});
const message = await client.messages.create({{
  model: "claude-haiku-5-5",
  max_tokens: 200,
  messages: [{{ role: "user", content: "What is 17 * 23?" }}],
}});
console.log(message.content);
'''
    shell = f'export ANTHROPIC_BASE_URL="{proxy}"\n'
    return Tab(
        "anthropic",
        "Anthropic",
        "The base URL is without /v1. The environment variable also works for Claude Code.",
        (Snippet("Python", python), Snippet("JavaScript", script), Snippet("Environment", shell)),
    )


def _gemini(proxy: str) -> Tab:
    python = f'''from google import genai

client = genai.Client(http_options={{"base_url": "{proxy}"}})
reply = client.models.generate_content(
    model="gemini-3.8-flash",
    contents="What is 17 * 23?",
)
print(reply.text)
'''
    script = f'''import {{ GoogleGenAI }} from "@google/genai";

const client = new GoogleGenAI({{
  apiKey: process.env.GEMINI_API_KEY,
  httpOptions: {{ baseUrl: "{proxy}" }},
}});
const reply = await client.models.generateContent({{
  model: "gemini-3.8-flash",
  contents: "What is 17 * 23?",
}});
console.log(reply.text);
'''
    return Tab(
        "gemini",
        "Gemini",
        "The base URL is without a version.",
        (Snippet("Python", python), Snippet("JavaScript", script)),
    )


def _langchain(proxy: str) -> Tab:
    python = f'''from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="gpt-5.4-mini", base_url="{proxy}/v1")
print(model.invoke("What is 17 * 23?").content)
'''
    script = f'''import {{ ChatOpenAI }} from "@langchain/openai";

const model = new ChatOpenAI({{
  model: "gpt-5.4-mini",
  configuration: {{ baseURL: "{proxy}/v1" }},
}});
console.log((await model.invoke("What is 17 * 23?")).content);
'''
    return Tab(
        "langchain",
        "LangChain",
        "ChatAnthropic takes base_url, too, but without /v1. LangGraph uses the same classes.",
        (Snippet("Python", python), Snippet("JavaScript", script)),
    )


def _curl(proxy: str) -> Tab:
    shell = f"""curl {proxy}/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -H "x-perimeter-conversation-id: first-steps" \\
  -d '{{"model": "gpt-5.4-mini", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
    return Tab(
        "curl",
        "curl",
        "Any HTTP client works the same way: only the host changes.",
        (Snippet("Shell", shell),),
    )


def assistants(dashboard: str, *, token: bool) -> list[Tab]:
    """
    Return the MCP settings of coding assistants.

    Args:
        dashboard: Its address.
        token: Whether it asks for a token, which settings then have to send.
    """
    url = f"{dashboard}/mcp"
    header = ' --header "Authorization: Bearer $PERIMETER_TOKEN"' if token else ""
    command = f"claude mcp add --transport http perimeter {url}{header}\n"
    return [
        Tab("claude-code", "Claude Code", "Run this once, in the project.",
            (Snippet("Shell", command),
             _file(".mcp.json", "mcpServers", url, token=token, kind="http"))),
        Tab("cursor", "Cursor", "In the project, or in your home folder for all projects.",
            (_file(".cursor/mcp.json", "mcpServers", url, token=token, env="env:"),)),
        Tab("vscode", "VS Code", "In the workspace; then start the server from the file.",
            (_vscode(url, token=token),)),
        Tab("codex", "Codex CLI", "Run this once, or write it into Codex's own configuration.",
            _codex(url, token=token)),
        Tab("windsurf", "Windsurf", "Then reload the servers in Cascade's settings.",
            (_file("~/.codeium/windsurf/mcp_config.json", "mcpServers", url, token=token,
                   key="serverUrl", env="env:"),)),
        Tab("gemini-cli", "Gemini CLI", "In the project, or in your home folder.",
            (Snippet("Shell", f"gemini mcp add --transport http{header} perimeter {url}\n"),
             _file(".gemini/settings.json", "mcpServers", url, token=token, key="httpUrl"))),
    ]  # fmt: skip


def _file(
    path: str, table: str, url: str, *, token: bool, kind: str = "", key: str = "url", env: str = ""
) -> Snippet:
    server: dict[str, object] = {"type": kind} if kind else {}
    server[key] = url
    if token:
        server["headers"] = {"Authorization": f"Bearer ${{{env}PERIMETER_TOKEN}}"}
    return _json(path, {table: {"perimeter": server}})


def _json(path: str, value: object) -> Snippet:
    return Snippet(path, msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _vscode(url: str, *, token: bool) -> Snippet:
    """Return the settings of VS Code, which asks for secrets and keeps them itself."""
    server: dict[str, object] = {"type": "http", "url": url}
    settings: dict[str, object] = {"servers": {"perimeter": server}}
    if token:
        server["headers"] = {"Authorization": "Bearer ${input:perimeter-token}"}
        settings["inputs"] = [
            {
                "type": "promptString",
                "id": "perimeter-token",
                "description": "Token of Perimeter's dashboard",
                "password": True,
            }
        ]
    return _json(".vscode/mcp.json", settings)


def _codex(url: str, *, token: bool) -> tuple[Snippet, Snippet]:
    command = f"codex mcp add perimeter --url {url}"
    lines = ["[mcp_servers.perimeter]", f'url = "{url}"']
    if token:
        command += " --bearer-token-env-var PERIMETER_TOKEN"
        lines.append('bearer_token_env_var = "PERIMETER_TOKEN"')
    file = Snippet("~/.codex/config.toml", "\n".join(lines) + "\n")
    return Snippet("Shell", command + "\n"), file
